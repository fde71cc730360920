"""The calls of handlers to the engines that asked, on the event loop."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ..protocol.requester.options import Options
from ..protocol.requester.pending import DeadlineSweep
from ..protocol.session.session import EngineSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..handlers.invocation import Invocation
    from ..protocol.session.table import SessionTable

__all__ = ["NestedCallRunner"]


class NestedCallRunner:
    """Carries out the calls of one container.

    Args:
        sessions: its engines.
        leave: something waits to leave for an engine.
    """

    def __init__(self, sessions: SessionTable, leave: Callable[[EngineSession], None]) -> None:
        self._sessions = sessions
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self.is_closed = False
        """Whether nothing leaves any more."""
        self.ends = DeadlineSweep()
        """When calls end that wait for engines which are away."""

    async def call(
        self,
        running: Invocation,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        lost_after: float | None,
    ) -> Any:
        """Calls a function of the engine that asked; see :meth:`RequestContext.call`."""
        peer = running.engine
        assert isinstance(peer, EngineSession)
        now = self._loop.time()
        options = Options(timeout=timeout, lost_after=lost_after, metadata=running.propagated)
        caller = peer.open_caller()
        if self.is_closed:
            caller.close("the container was closed")
        parent = running.tag
        is_over = not running.record or running.cancel_reason is not None
        entry = caller.issue(parent, running.deadline, function, args, kwargs, options, now, is_over=is_over)
        waiter = self._loop.create_future()
        caller.submit(entry, waiter, parent)
        self._leave(peer)
        timer = None
        if entry.deadline is not None:
            # Not in the handler's context: the event loop holds a timer, and what it refers to, until its time.
            timer = self._loop.call_at(entry.deadline, self._expire, peer, entry.deadline, context=Context())
        try:
            return (await waiter)[2]
        except BaseException:  # unless it has ended: whatever ends this coroutine, nobody waits any more
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # it came in the same moment as the cancellation, and nobody asks
            if caller.cancel(entry):
                self._leave(peer)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            caller.discard(entry.tag, parent)
            entry.waiter = None  # it keeps the error that is raised, whose traceback keeps this frame
            del waiter

    def on_parent_ended(self, peer: EngineSession, parent: bytes) -> None:
        """A request has ended: so have the calls inside it."""
        if peer.caller is not None and peer.caller.on_parent_ended(parent):
            self._leave(peer)

    def on_loss(self, peers: Iterable[EngineSession]) -> None:
        """Engines were lost."""
        for peer in peers:
            if peer.caller is not None:
                self.ends.add(peer.caller.next_end)

    def end_lost(self, away: Iterable[EngineSession], now: float) -> None:
        """Ends the calls that wait no longer for engines which are away."""
        callers = [peer.caller for peer in away if peer.caller is not None]
        if self.ends.sweep(now, lambda: (caller.next_end for caller in callers)):
            for caller in callers:
                caller.give_up(now)
                self.ends.add(caller.next_end)

    def _expire(self, peer: EngineSession, deadline: float) -> None:
        assert peer.caller is not None
        peer.caller.expire(max(deadline, self._loop.time()))  # a timer may be early by a tick of the clock
        self._leave(peer)
