"""Requests that have not ended: the truth, since libzmq never tells what it lost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .request import PendingRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DeadlineSweep", "PendingRequests"]

SWEEP_INTERVAL = 0.005
"""Seconds between two sweeps at least."""


class DeadlineSweep:
    """The earliest of many deadlines, at no cost per request that ends in time.

    Most deadlines are never reached, so none is kept in order: only a bound below all of them is, and a sweep that
    finds it too low raises it again.

    Args:
        sweep_interval: seconds between two sweeps at least: many deadlines close together cost one.
    """

    def __init__(self, sweep_interval: float = SWEEP_INTERVAL) -> None:
        self._sweep_interval = sweep_interval
        self.bound = math.inf
        """No deadline is earlier."""
        self._swept_at = -math.inf

    def add(self, deadline: float | None) -> None:
        """A deadline more."""
        if deadline is not None and deadline < self.bound:
            self.bound = deadline

    def next(self) -> float | None:
        """When to sweep next; None: no deadline."""
        return None if self.bound == math.inf else max(self.bound, self._swept_at + self._sweep_interval)

    def sweep(self, now: float, deadlines: Callable[[], Iterator[float | None]]) -> bool:
        """Whether any deadline has been reached.

        Args:
            now: the time.
            deadlines: all deadlines there are; only asked when the bound is reached.
        """
        if now < self.bound:
            return False
        self._swept_at = now
        left = [deadline for deadline in deadlines() if deadline is not None]
        self.bound = min((deadline for deadline in left if deadline > now), default=math.inf)
        return any(deadline <= now for deadline in left)


class PendingRequests(dict[bytes, PendingRequest]):
    """All requests of one link that have not ended, streams included, and their deadlines; in the order of issue."""

    def __init__(self) -> None:
        super().__init__()
        self._deadlines = DeadlineSweep()

    def add(self, entry: PendingRequest) -> None:
        """A request more."""
        self[entry.tag] = entry
        deadline = entry.deadline
        if deadline is not None and deadline < self._deadlines.bound:
            self._deadlines.add(deadline)

    def take(self, which: Callable[[PendingRequest], bool]) -> list[PendingRequest]:
        """Takes out all requests of a kind."""
        taken = [entry for entry in self.values() if which(entry)]
        for entry in taken:
            del self[entry.tag]
        return taken

    def expired(self, now: float) -> list[PendingRequest]:
        """Takes out the requests whose deadline has come."""
        if not self._deadlines.sweep(now, lambda: (entry.deadline for entry in self.values())):
            return []
        return self.take(lambda entry: entry.deadline is not None and entry.deadline <= now)

    def next_deadline(self) -> float | None:
        """When to look for expired requests next."""
        return self._deadlines.next()
