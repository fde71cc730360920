"""The groups of a worker, and the counters of those that were closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..statistics import GroupStatistics
from .links import MAX_NAMES

if TYPE_CHECKING:
    from .group_state import GroupState

__all__ = ["Groups"]


class _Counted(Protocol):
    """A group, as far as it is counted."""

    @property
    def name(self) -> str: ...
    def statistics(self) -> GroupStatistics: ...


_G = TypeVar("_G", bound=_Counted)


class Groups(Generic[_G]):
    """Those of one worker.

    Attributes:
        open: those that are not closed, by their books.
    """

    def __init__(self) -> None:
        self.open: dict[GroupState, _G] = {}
        # Any thread may ask for counters, and those of a group that is closed move from one place to another.
        self._lock = threading.Lock()
        self._closed: list[_G] = []  # of which some requests may not have ended
        self._past: dict[str, GroupStatistics] = {}  # of all that were closed before, by name

    def end(self, state: GroupState) -> None:
        """One of them is closed. Idempotent."""
        with self._lock:
            group = self.open.pop(state, None)
            if group is not None:
                self._closed.append(group)

    def settle(self) -> None:
        """Adds up the counters of closed groups whose requests have ended, and lets go of these groups."""
        with self._lock:
            self._settle()

    def counted_by_name(self) -> tuple[tuple[_G, ...], dict[str, GroupStatistics]]:
        """The groups that are open, and the counters of those that were closed, by name.

        Of many names, those of which the last group was closed longest ago are forgotten. Any thread may ask.
        """
        with self._lock:
            self._settle()
            past = dict(self._past)
            for group in self._closed:
                past[group.name] = past.get(group.name, GroupStatistics()) + group.statistics().totals()
            return tuple(self.open.values()), past

    def _settle(self) -> None:
        for group in list(self._closed):
            counters = group.statistics()
            if not (counters.in_flight or counters.links.in_flight):
                self._closed.remove(group)
                self._past[group.name] = self._past.pop(group.name, GroupStatistics()) + counters.totals()
        if len(self._past) > MAX_NAMES:
            used = {group.name for group in self.open.values()}
            for name in [name for name in self._past if name not in used][: len(self._past) - MAX_NAMES]:
                del self._past[name]
