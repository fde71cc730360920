"""When a dispatcher has something to do though nothing arrives: deadlines, and word of what is at work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from .dispatcher import Dispatcher

__all__ = ["Timers"]

MARK_AFTER = 0.1
"""Seconds, and twice as many at most, after which who asks is told that a handler has begun: most have ended by then,
and need no word of it."""


class Timers:
    """The timers of one dispatcher.

    Args:
        dispatcher: whose they are.
        loop: the event loop.
        flush: sends what waits.
    """

    def __init__(self, dispatcher: Dispatcher, loop: asyncio.AbstractEventLoop, flush: Callable[[], None]) -> None:
        self._dispatcher = dispatcher
        self._loop = loop
        self._flush = flush
        self._deadline: asyncio.TimerHandle | None = None
        self._armed_for = math.inf
        self._marking: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """A burst was started: there may be deadlines, and handlers at work."""
        self._arm_deadline()
        if self._marking is None and self._dispatcher.in_flight:
            self._marking = self._loop.call_later(MARK_AFTER, self._mark)

    def close(self) -> None:
        """Nothing is due any more."""
        for timer in (self._deadline, self._marking):
            if timer is not None:
                timer.cancel()

    def _arm_deadline(self) -> None:
        when = self._dispatcher.deadlines.next()
        if when is None or self._armed_for <= when:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_at(when, self._expire)
        self._armed_for = when  # not asked of the handle: uvloop's has no when() if the time has come already

    def _expire(self) -> None:
        self._deadline = None
        self._armed_for = math.inf
        self._dispatcher.expire(self._loop.time())
        self._arm_deadline()

    def _mark(self) -> None:
        self._marking = None
        if self._dispatcher.send_started_notices():
            self._marking = self._loop.call_later(MARK_AFTER, self._mark)
        self._flush()
