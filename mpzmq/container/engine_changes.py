"""Whoever wants to know is told which engines come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..common.logs import Log
from ..events import EngineInfo, EngineJoined, EngineLeft
from ..handlers.isolation import context_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ..handlers.registry import Registry
    from ..protocol.session.presence import Presence
    from ..protocol.session.session import EngineSession

__all__ = ["EngineChanges"]

_Change = EngineJoined | EngineLeft

log = Log(__name__)

CLOSE_TIMEOUT = 1.0
"""Seconds for the handler to hear of all that are left when the server closes."""


class EngineChanges:
    """Calls the handler of one container, one change after the other.

    What is told is how an engine stands, and not each step: one that goes and is back while the handler is busy has not
    changed. So nobody joins or leaves twice in a row, and no more waits to be told than there are engines.

    Args:
        registry: has the handler.
        presence: who is there.
    """

    def __init__(self, registry: Registry, presence: Presence) -> None:
        self._registry = registry
        self._presence = presence
        self._told: dict[EngineSession, EngineInfo] = {}  # that are there, as the handler knows
        self._waiting: dict[EngineSession, str] = {}  # that have changed, and why
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._new_context = context_factory()
        self._loop = asyncio.get_running_loop()

    def on_change(self, changed: Mapping[EngineSession, str]) -> None:
        """Engines have come or gone, and why."""
        if self._registry.engine_change is None:
            return
        for peer, why in changed.items():
            if (peer in self._presence.here) is (peer in self._told):
                self._waiting.pop(peer, None)
            else:
                self._waiting[peer] = why
        if self._waiting and self._task is None:
            self._task = self._loop.create_task(self._tell_all())

    async def close(self) -> None:
        """Waits until everything is told, though not for long."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT)
        self._is_closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT)

    async def _tell_all(self) -> None:
        try:
            while self._waiting and not self._is_closing:
                peer = next(iter(self._waiting))
                event = self._event(peer, self._waiting.pop(peer))
                handler = self._registry.engine_change
                assert handler is not None
                await self._loop.create_task(self._call(handler, event), context=self._new_context())
        finally:
            self._task = None

    def _event(self, peer: EngineSession, why: str) -> _Change:
        info = self._presence.here.get(peer)
        if info is None:
            info = self._told.pop(peer)
            return EngineLeft(session=info.session, name=info.name, user=info.user, reason=why)
        self._told[peer] = info
        return EngineJoined(session=info.session, name=info.name, user=info.user, reason=why)

    async def _call(self, handler: Callable[[_Change], Any], event: _Change) -> None:
        try:
            outcome = handler(event)
            if outcome is not None and hasattr(outcome, "__await__"):
                await outcome
        except asyncio.CancelledError as error:
            if self._is_closing:
                raise
            log.error("the handler of engine changes cancelled itself at %r", event, exc_info=error)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also what would end the event loop: it has no caller, and is to harm nobody
            log.error("the handler of engine changes raised at %r", event, exc_info=error)
