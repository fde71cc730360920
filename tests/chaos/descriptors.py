"""A process that gets no more file descriptors."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["no_more_descriptors"]


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Every attempt to open one is EMFILE. The limit is on the number of a new one: what is open stays so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
