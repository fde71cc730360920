"""Changes of the run state: what the same engine has asked behind one waits until it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.wire.kinds import Op
from .concurrency import Gate, Way
from .registry import Function

if TYPE_CHECKING:
    from ..protocol.responder.interface import Responder
    from .invocation import Running

__all__ = ["BEHIND", "PASSING", "StateChanges", "WayBehind"]

PASSING = frozenset({Op.GETSTATE, Op.DESCRIBE})
"""What does not wait: it is answered in every run state."""


def _not_judged() -> None:
    raise AssertionError("a request that waits behind a change of state has no handler yet")


BEHIND = Function(None, _not_judged, max_concurrency=1)
"""Stands for the handler of a request that waits: which one it is, and whether it may run, is not known before."""


class WayBehind(Way):
    """The way of a request that stands behind a change of state.

    Attributes:
        connection: the number of the connection of its engine on which it came, or came again.
    """

    __slots__ = ("connection",)

    def __init__(self, running: Running, gate: Gate) -> None:
        super().__init__(running, (gate,))
        self.connection = running.engine.number


class StateChanges:
    """The changes that are under way, and what waits behind them.

    Attributes:
        closed: of each session with a change under way, a gate that lets nobody through.
    """

    def __init__(self) -> None:
        self.closed: dict[Responder, Gate] = {}
        self._under_way: dict[Responder, Running] = {}

    def begin(self, change: Running) -> None:
        """A change of state is about to be made."""
        self._under_way[change.engine] = change
        self.closed.setdefault(change.engine, Gate(0))

    def way_of(self, running: Running) -> WayBehind:
        """What a request that stands behind a change has to pass."""
        return WayBehind(running, self.closed[running.engine])

    def end(self, change: Running) -> bool:
        """A change has ended, or is told to; whether what stands behind it is to be judged, by :meth:`next`."""
        if self._under_way.get(change.engine) is not change:
            return False
        del self._under_way[change.engine]
        return True

    def next(self, peer: Responder) -> WayBehind | None:
        """The way of the next that may be judged; None: there is none, or another change has begun."""
        if peer in self._under_way or (gate := self.closed.get(peer)) is None:
            return None
        way = gate.pop()
        if way is None:
            del self.closed[peer]
            return None
        assert isinstance(way, WayBehind)
        way.running.way = None
        return way
