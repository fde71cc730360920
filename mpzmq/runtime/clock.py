"""A clock for what takes less than a millisecond."""

from __future__ import annotations

import asyncio
import time

__all__ = ["finer_time"]


def finer_time(loop: asyncio.AbstractEventLoop) -> float | None:
    """The time by a finer clock than the event loop's: uvloop counts whole milliseconds. None: the loop's is fine.

    Good for what lies between two readings only; the two clocks need not have the same zero.
    """
    return None if isinstance(loop, asyncio.BaseEventLoop) else time.perf_counter()
