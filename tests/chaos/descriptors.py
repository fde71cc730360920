"""A process that gets no more file descriptors, or only a few."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["no_more_descriptors", "only_so_many_more"]


@contextlib.contextmanager
def _limited(number: int) -> Iterator[None]:
    """The limit is on the number of a new descriptor: what is open stays so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Every attempt to open one is EMFILE."""
    with _limited(3):
        yield


@contextlib.contextmanager
def only_so_many_more(count: int) -> Iterator[None]:
    """The attempt after ``count`` others is EMFILE."""
    highest = max(map(int, os.listdir("/dev/fd")))
    fillers = [os.dup(0)]
    try:
        while fillers[-1] <= highest:
            fillers.append(os.dup(0))
        with _limited(fillers[-1] + 1 + count):
            yield
    finally:
        for filler in fillers:
            os.close(filler)
