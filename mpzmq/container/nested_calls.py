"""The calls of handlers to the engines that asked, on the event loop."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ..common.durations import checked_after, checked_timeout
from ..protocol.requester.nested_calls import NestedCalls
from ..protocol.requester.pending import DeadlineSweep
from ..protocol.responder.session_state import SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..config import Limits
    from ..handlers.invocation import Invocation
    from ..protocol.session.session import EngineSession
    from ..protocol.session.table import SessionTable

__all__ = ["NestedCallRunner"]


class NestedCallRunner:
    """Carries out the calls of one container.

    Args:
        sessions: its engines.
        limits: its bounds.
        leave: something waits to leave for an engine.
    """

    def __init__(self, sessions: SessionTable, limits: Limits, leave: Callable[[EngineSession], None]) -> None:
        self._sessions = sessions
        self._limits = limits
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
        peer: EngineSession = running.engine  # type: ignore[assignment]
        now = self._loop.time()
        deadline = running.deadline
        checked_after(lost_after, "lost_after")
        if checked_timeout(timeout) is not None:
            deadline = now + timeout if deadline is None else min(deadline, now + timeout)  # type: ignore[operator]
        caller = peer.caller
        if caller is None:
            caller = peer.caller = NestedCalls(peer, self._limits, self._sessions.encoder, self._sessions.answered)
        parent = running.tag
        entry = caller.encode(parent, function, args, kwargs, deadline, now)
        entry.lost_after = lost_after
        error_factory, tracker = caller.error_factory, caller.tracker
        if not running.record or running.cancel_reason is not None:
            raise error_factory.parent_over(entry)
        if self.is_closed or peer.state is SessionState.CLOSED:
            raise error_factory.closed(
                entry, "the container was closed" if self.is_closed else "it is not there any more"
            )
        if not peer.max_calls:
            raise error_factory.unable(entry)
        if deadline is not None and deadline <= now:
            raise error_factory.expired(entry)
        if entry.size > tracker.message_bytes:
            raise tracker.too_large(entry)
        if not tracker.has_room(entry.size):
            raise error_factory.overloaded(entry, len(tracker.pending))
        entry.waiter = waiter = self._loop.create_future()
        caller.submit(entry, parent)
        self._leave(peer)
        timer = None
        if deadline is not None:
            # Not in the handler's context: the event loop holds a timer, and what it refers to, until its time.
            timer = self._loop.call_at(deadline, self._expire, peer, deadline, context=Context())
        try:
            return (await waiter)[2]
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # it came in the same moment, and nobody asks
            caller.cancel(entry.tag)
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
            self.resolve()
            self._leave(peer)

    def on_loss(self, peers: Iterable[EngineSession]) -> None:
        """Engines were lost."""
        for peer in peers:
            if peer.caller is not None:
                self.ends.add(peer.caller.outage.next_end())

    def end_lost(self, now: float) -> None:
        """Ends the calls that wait no longer for engines which are away."""
        callers = [peer.caller for peer in self._sessions.presence.away if peer.caller is not None]
        if self.ends.sweep(now, lambda: (caller.outage.next_end() for caller in callers)):
            for caller in callers:
                caller.give_up(now)
                self.ends.add(caller.outage.next_end())
            self.resolve()

    def resolve(self) -> None:
        """Tells those whose calls have ended."""
        answered = self._sessions.answered
        while answered:
            caller, _ = answered.popitem()
            for waiter, outcome in caller.tracker.take_ended():
                if waiter.done():
                    continue
                if isinstance(outcome, Exception):
                    waiter.set_exception(outcome)
                else:
                    waiter.set_result(outcome)

    def _expire(self, peer: EngineSession, deadline: float) -> None:
        assert peer.caller is not None
        peer.caller.expire(max(deadline, self._loop.time()))  # a timer may be early by a tick of the clock
        self.resolve()
        self._leave(peer)
