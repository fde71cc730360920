"""What the extra ``typed`` brings, imported when it is asked for."""

from __future__ import annotations

import functools
import re
from typing import Any

from ..common.extras import how_to_install, required

__all__ = ["msgspec_for"]

OLDEST = (0, 23)


@functools.cache
def msgspec_for(what: str) -> Any:
    """The module msgspec.

    Args:
        what: needs it, in the words of the user.

    Raises:
        ImportError: it is not installed, or too old.
    """
    msgspec = required("msgspec", "typed", what)
    if tuple(map(int, re.findall(r"\d+", msgspec.__version__)[:2])) < OLDEST:
        raise ImportError(
            f"{what} needs msgspec 0.23 or later, and not {msgspec.__version__}: {how_to_install('typed')}"
        )
    return msgspec
