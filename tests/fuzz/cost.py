"""Memory for one message: in proportion to its bytes, whatever they are."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MEMORY_FACTOR", "peak_memory"]

MEMORY_FACTOR = 600
"""Bytes of memory for a byte of a small message: an empty list takes 64, a datetime or an error more."""


def peak_memory(work: Callable[[], object]) -> int:
    """Bytes that were set aside at once, at most, while it ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
