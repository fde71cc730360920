"""Time and memory for one message: in proportion to its bytes, whatever they are."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MEMORY_FACTOR", "growth", "peak_memory"]

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


def growth(work: Callable[[int], object], sizes: tuple[int, int]) -> float:
    """How many times longer each byte takes in the larger of two inputs: about 1 where it is linear.

    Args:
        work: takes a size.
        sizes: two of them.
    """

    def seconds(size: int) -> float:
        times = []
        for _ in range(3):
            began = time.thread_time()
            work(size)
            times.append(time.thread_time() - began)
        return min(times) / size

    small, large = sizes
    return seconds(large) / seconds(small)
