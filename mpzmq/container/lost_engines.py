"""Engines that are lost: found out at once, and what runs for those that stay away is ended, on the event loop."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from ..handlers.orphans import Orphans
from .engine_changes import EngineChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..handlers.dispatcher import Dispatcher
    from ..handlers.registry import Registry
    from ..handlers.timers import Timers
    from ..protocol.session.session import EngineSession
    from ..protocol.session.table import SessionTable
    from ..transport.interface import Router
    from .nested_calls import NestedCallRunner

__all__ = ["LostEngines"]

FEW = 256
"""Messages that are read before handlers are ended, besides one of each connection: a HELLO is the first of its own."""


class LostEngines:
    """Looks after the engines of one container whose connections have ended, or may have.

    Args:
        registry: its handlers.
        sessions: its engines.
        dispatcher: what runs for them.
        calls: what handlers call there.
        timers: of the dispatcher.
        router: through which they come back.
        flush: sends what waits.
    """

    def __init__(
        self,
        registry: Registry,
        sessions: SessionTable,
        dispatcher: Dispatcher,
        calls: NestedCallRunner,
        timers: Timers,
        router: Router,
        flush: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._presence = sessions.presence
        self._dispatcher = dispatcher
        self._calls = calls
        self._timers = timers
        self._router = router
        self._flush = flush
        self._orphans = Orphans(registry, self._presence.away)
        self._changes = EngineChanges(registry, self._presence)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def on_disconnected(self, routes: Sequence[bytes]) -> None:
        """Connections may have ended."""
        self._sessions.on_disconnected(routes, self._loop.time())
        self._flush()
        self._arm()

    def on_change(self, changed: Mapping[EngineSession, str]) -> None:
        """Engines have come or gone, and why."""
        lost = self._presence.away.keys() & changed
        if lost:
            self._orphans.on_loss(self._loop.time())
            self._calls.on_loss(lost)
            self._arm()
        self._changes.on_change(changed)

    def look_again(self) -> None:
        """Every now and then: something may have been begun for an engine that was away already."""
        if any(peer.in_flight for peer in self._presence.away):
            self._orphans.deadlines.add(self._loop.time())
            self._arm()

    async def close(self) -> None:
        """Nothing is due any more, and all have left; waits a moment until that is told."""
        self._closed = True
        self._disarm()
        self._presence.close("the container was closed")
        self._flush()
        await self._changes.close()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._disarm()
        if self._closed:
            return
        sweeps = self._orphans.deadlines.next(), self._calls.ends.next()
        when = min(self._presence.next_question(), *(sweep for sweep in sweeps if sweep is not None), math.inf)
        if when < math.inf:
            self._timer = self._loop.call_at(when, self._look, when)

    def _look(self, due: float) -> None:
        orphans, presence = self._orphans, self._presence
        if min(orphans.deadlines.bound, self._calls.ends.bound) <= max(due, self._loop.time()):
            # If this loop was blocked, who came back meanwhile has to be heard before what runs for it is ended.
            self._router.drain(len(presence.here) + len(presence.away) + FEW)
        now = max(due, self._loop.time())  # a timer may be early by a tick of the clock
        self._sessions.ask_again(now)
        self._calls.end_lost(presence.away, now)
        self._dispatcher.end_orphans(orphans, now)
        self._timers.arm()
        self._flush()
        self._arm()
