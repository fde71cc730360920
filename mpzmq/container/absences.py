"""Engines that are lost: found out at once, on the event loop."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..protocol.session.table import Sessions

__all__ = ["Absences"]


class Absences:
    """Looks after the engines of one container whose connections have ended, or may have.

    Args:
        sessions: its engines.
        flush: sends what waits.
    """

    def __init__(self, sessions: Sessions, flush: Callable[[], None]) -> None:
        self._sessions = sessions
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def on_disconnected(self, routes: Sequence[bytes]) -> None:
        """Connections may have ended."""
        self._sessions.on_disconnected(routes, self._loop.time())
        self._flush()
        self._arm()

    def close(self) -> None:
        """Nothing is due any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self.close()
        when = self._sessions.presence.next_question()
        if when < math.inf:
            self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._sessions.ask_again(self._loop.time())
        self._flush()
        self._arm()
