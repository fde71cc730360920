"""Changes of the run state: what the same engine has asked behind one waits until it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..protocol.wire.kinds import Op
from .concurrency import Limiter, Ticket
from .registry import Function

if TYPE_CHECKING:
    from ..protocol.responder.responder import Responder
    from .invocation import Invocation

__all__ = ["BEHIND", "PASSING", "DeferredTicket", "StateChanges"]

PASSING: Final = frozenset({Op.GETSTATE, Op.DESCRIBE, Op.STATISTICS})
"""What does not wait: it is answered in every run state."""


def _not_judged() -> None:
    raise AssertionError("a request that waits behind a change of state has no handler yet")


BEHIND: Final = Function(None, _not_judged, max_concurrency=1)
"""Stands for the handler of a request that waits: which one it is, and whether it may run, is not known before."""


class DeferredTicket(Ticket):
    """The way of a request that stands behind a change of state.

    Attributes:
        connection: the number of the connection of its engine on which it came, or came again.
    """

    __slots__ = ("connection",)

    def __init__(self, running: Invocation, limiter: Limiter) -> None:
        super().__init__(running, (limiter,))
        self.connection = running.engine.number


class StateChanges:
    """The changes that are under way, and what waits behind them.

    Attributes:
        closed: of each session with a change under way, a limiter that lets nobody through.
    """

    def __init__(self) -> None:
        self.closed: dict[Responder, Limiter] = {}
        self._under_way: dict[Responder, Invocation] = {}

    def begin(self, change: Invocation) -> None:
        """A change of state is about to be made."""
        self._under_way[change.engine] = change
        self.closed.setdefault(change.engine, Limiter(0))

    def ticket_for(self, running: Invocation) -> DeferredTicket:
        """What a request that stands behind a change has to pass."""
        return DeferredTicket(running, self.closed[running.engine])

    def end(self, change: Invocation) -> bool:
        """A change has ended, or is told to; whether what stands behind it is to be judged, by :meth:`next`."""
        if self._under_way.get(change.engine) is not change:
            return False
        del self._under_way[change.engine]
        return True

    def next(self, peer: Responder) -> DeferredTicket | None:
        """The way of the next that may be judged; None: there is none, or another change has begun."""
        if peer in self._under_way or (limiter := self.closed.get(peer)) is None:
            return None
        ticket = limiter.pop()
        if ticket is None:
            del self.closed[peer]
            return None
        assert isinstance(ticket, DeferredTicket)
        ticket.running.ticket = None
        return ticket
