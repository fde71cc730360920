"""At most so many handlers at once; the others wait, first come, first served."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .registry import Function

__all__ = ["Gate", "Gates"]


class Gate:
    """The way into one function, or into the worker threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0
        self.called = 0
        """Requests whose turn has come, and which start in the next pass of the event loop."""
        self._waiting: OrderedDict[Hashable, None] = OrderedDict()

    def enter(self, running: Hashable) -> bool:
        """Whether a request may start now; if not, it waits for its turn."""
        if self._inside < self._most and not self.called:
            self._inside += 1
            return True
        self._waiting[running] = None
        return False

    def is_waiting(self, running: Hashable) -> bool:
        """Whether a request waits for its turn."""
        return running in self._waiting

    def leave(self, running: Hashable) -> Any:
        """A request has ended, or waits no more; returns the one whose turn has come."""
        if running in self._waiting:
            del self._waiting[running]
            return None
        if self._waiting:
            # Whoever comes in the same pass was issued later, and must not start before.
            self.called += 1
            return self._waiting.popitem(last=False)[0]
        self._inside -= 1
        return None


class Gates:
    """All gates of a container."""

    def __init__(self, threads: int) -> None:
        self._gates: dict[Function, Gate] = {}
        self._any_thread = Gate(threads)

    def of(self, function: Function) -> Gate:
        """What the runs of a function have to pass that is gated."""
        if function.max_concurrency is None:
            return self._any_thread
        if function not in self._gates:
            self._gates[function] = Gate(function.max_concurrency)
        return self._gates[function]
