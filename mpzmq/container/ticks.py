"""The tick of a container, and by how much it comes late: what holds the event loop does not say so itself."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING

from ..common.logs import Log, LogRateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Ticks"]

log = Log(__name__)

TOLD = 0.5
"""Seconds from which on it is worth a line: shorter than any heartbeat, and longer than a busy machine takes."""

KEPT = 30.0
"""Seconds for which it is remembered."""

NAMES = 3
"""Of functions in one line."""


class Ticks:
    """Has something done again and again, until it is cancelled.

    Args:
        interval: seconds between two.
        tick: what is done, with the time.
        at_work: the functions whose handlers have begun and not ended, for the line that says that it came late.
    """

    def __init__(self, interval: float, tick: Callable[[float], None], at_work: Callable[[], Iterable[str]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval = interval
        self._tick = tick
        self._at_work = at_work
        self._lately: deque[tuple[float, float]] = deque(maxlen=64)
        self._lines = LogRateLimit()
        self._timer = self._loop.call_later(interval, self._fire)

    def cancel(self) -> None:
        """No more of them."""
        self._timer.cancel()

    def worst_lag(self) -> float:
        """Seconds by which the event loop was late lately, at most."""
        now = self._loop.time()
        return max((late for at, late in self._lately if now - at < KEPT), default=0.0)

    def _fire(self) -> None:
        now, due = self._loop.time(), self._timer.when()
        self._timer = self._loop.call_later(self._interval, self._fire)
        if now - due >= TOLD:
            self._came_late(now - due, now)
        self._tick(now)

    def _came_late(self, late: float, now: float) -> None:
        self._lately.append((now, late))
        if self._lines.allows(now):
            names = sorted(set(self._at_work()))
            more = "" if len(names) <= NAMES else f" and {len(names) - NAMES} more"
            working = f"; at work now: {', '.join(map(repr, names[:NAMES]))}{more}" if names else ""
            log.warning(
                "the event loop was held for %.1f s%s: a handler blocks it (thread=True is the cure; py-spy dump --pid"
                " %d shows where), or this process did not get to run",
                late,
                working,
                os.getpid(),
            )
