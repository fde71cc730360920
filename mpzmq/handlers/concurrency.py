"""Limits how many handlers run at once; the others wait, first come, first served."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .registry import Function

__all__ = ["Limiter", "Limiters", "Ticket"]


class Limiter:
    """The way into one function, or into the worker threads."""

    def __init__(self, max_concurrency: int) -> None:
        self._max_concurrency = max_concurrency
        self._inside = 0
        self.called = 0
        """Requests whose turn has come, and which start in the next pass of the event loop."""
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()

    def enter(self, ticket: Ticket) -> bool:
        """Whether a request may start now; if not, it waits for its turn."""
        if self._inside < self._max_concurrency and not self.called:
            self._inside += 1
            return True
        self._waiting[ticket] = None
        return False

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._waiting)

    def is_waiting(self, ticket: Ticket) -> bool:
        """Whether a request waits for its turn."""
        return ticket in self._waiting

    def pop(self) -> Ticket | None:
        """Takes the first of those that wait out; it need not pass this limiter any more. None: nobody waits."""
        return self._waiting.popitem(last=False)[0] if self._waiting else None

    def leave(self, ticket: Ticket) -> Ticket | None:
        """A request has ended, or waits no more; returns the one whose turn has come."""
        if ticket in self._waiting:
            del self._waiting[ticket]
            return None
        if self._waiting:
            # Whoever comes in the same pass was issued later, and must not start before.
            self.called += 1
            return self._waiting.popitem(last=False)[0]
        self._inside -= 1
        return None


class Ticket:
    """One request's way through its limiters, one after the other."""

    __slots__ = ("_called", "_kept", "_limiters", "_passed", "running")

    def __init__(self, running: Any, limiters: tuple[Limiter, ...]) -> None:
        self.running = running
        self._limiters = limiters
        self._passed = self._kept = 0
        self._called = False

    def try_advance(self, *, wanted: bool) -> bool:
        """Through the limiters that are left, if it is still wanted; False: it waits at one."""
        if self._called:
            self._called = False
            self._limiters[self._passed - 1].called -= 1
        while wanted and self._passed < len(self._limiters):
            if not self._limiters[self._passed].enter(self):
                return False
            self._passed += 1
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether it waits at a limiter."""
        return self._passed < len(self._limiters) and self._limiters[self._passed].is_waiting(self)

    def keep(self, *, all_but_last: bool) -> None:
        """What :meth:`leave` leaves open: the limiters that were passed but for the last one, or none of them."""
        self._kept = self._passed - 1 if all_but_last else 0

    def leave(self) -> list[Any]:
        """The request has ended, wherever it stood; returns those that may go on now."""
        if self.is_waiting:
            self._limiters[self._passed].leave(self)
        left, self._passed = self._limiters[self._kept : self._passed], self._kept
        turns = [turn for limiter in left if (turn := limiter.leave(self)) is not None]
        for turn in turns:
            turn._passed += 1
            turn._called = True
        return [turn.running for turn in turns]


class Limiters:
    """All limiters of a container."""

    def __init__(self, threads: int) -> None:
        self._of: dict[Function, tuple[Limiter, ...]] = {}
        self._any_thread = Limiter(threads)
        self._all = [self._any_thread]

    def ticket_for(self, running: Any, function: Function) -> Ticket:
        """What a run of a function has to pass that is gated."""
        limiters = self._of.get(function)
        if limiters is None:
            own = () if function.max_concurrency is None else (Limiter(function.max_concurrency),)
            self._all += own
            # Who waits for a thread waits at a limiter, where the event loop can end it. In the queue of the threads
            # nobody would see that its deadline has come before one of them is free.
            limiters = self._of[function] = (*own, self._any_thread) if function.thread else own
        return Ticket(running, limiters)

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn at any of them."""
        return sum(limiter.waiting for limiter in self._all)
