"""Files of keys."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from ..common.files import read_small_file

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["read_toml"]


def read_toml(path: Path, what: str) -> tuple[dict[str, Any], os.stat_result]:
    """The table that a file holds, and what the system knows of that file.

    Args:
        path: of the file.
        what: it should hold, for the error.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, too large, or not TOML; the text names it.
    """
    try:
        data, status = read_small_file(path)
    except ValueError as error:
        raise ValueError(f"{path} holds no {what}: it {error}") from None
    try:
        return tomllib.loads(data.decode("utf-8-sig")), status  # as some editors save it
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, nested without end
        raise ValueError(f"{path} holds no {what}: it is no TOML: {error}") from None
