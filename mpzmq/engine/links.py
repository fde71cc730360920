"""The links of a worker, by remote id, and the counters of all that it ever had."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from ..statistics import Statistics

if TYPE_CHECKING:
    from uuid import UUID

    from ..protocol.link.link import Link
    from .link_driver import LinkDriver
    from .writer import ComputerEngineWriter

__all__ = ["Links"]

MAX_NAMES = 1000
"""Containers of which the counters are kept behind the end of their links, where others of their names may go on."""


class Links:
    """Those of one worker.

    Attributes:
        connections: by remote id.
        writers: the handles of their containers, in the same way.
    """

    def __init__(self) -> None:
        self.connections: dict[UUID, LinkDriver] = {}
        self.writers: dict[UUID, ComputerEngineWriter] = {}
        # Any thread may ask for counters, and those of a link that ends move from one place to another.
        self._lock = threading.Lock()
        self._past = Statistics()
        self._past_of: dict[str, Statistics] = {}  # of containers that are in no group, by name
        self._leaving: deque[tuple[Link, str | None]] = deque()
        self._buckets: tuple[float, ...] | None = None
        self._members: set[UUID] = set()

    def add(self, connection: LinkDriver, writer: ComputerEngineWriter, *, is_member: bool) -> None:
        """There is one more, that of a group's member or of a container by itself."""
        if is_member:
            self._members.add(writer.remote_id)
        self.connections[writer.remote_id] = connection
        self.writers[writer.remote_id] = writer
        if self._buckets is not None:
            connection.link.diagnostics.traffic.timings.keep(self._buckets)

    def end(self, remote_id: UUID, why: str) -> None:
        """Ends one of them."""
        with self._lock:
            connection = self.connections.pop(remote_id)
            writer = self.writers.pop(remote_id)
            self._leaving.append((connection.link, None if remote_id in self._members else writer.name))
            self._members.discard(remote_id)
        connection.close(why)
        with self._lock:
            self._add_up()

    def single(self) -> tuple[ComputerEngineWriter, ...]:
        """The handles of the containers that are in no group. Any thread may ask."""
        return tuple(writer for remote_id, writer in list(self.writers.items()) if remote_id not in self._members)

    def statistics(self) -> Statistics:
        """The counters of all links, those that have ended included. Any thread may ask."""
        past, connections = self.snapshot()
        return sum((connection.link.statistics() for _, connection in connections), past)

    def snapshot(self) -> tuple[Statistics, list[tuple[UUID, LinkDriver]]]:
        """The counters of links that have ended, and the links that are not among them. Any thread may ask."""
        with self._lock:
            past = sum((link.statistics().totals() for link, _ in self._leaving), self._past)
            return past, list(self.connections.items())

    def counted_by_name(self) -> tuple[tuple[ComputerEngineWriter, ...], dict[str, Statistics]]:
        """The handles of the containers that are in no group, and the counters of such that have ended, by name.

        Of many names, those of which the last link has ended longest ago are forgotten. Any thread may ask.
        """
        with self._lock:
            past = dict(self._past_of)
            for link, name in self._leaving:
                if name is not None:
                    past[name] = past.get(name, Statistics()) + link.statistics().totals()
            return self.single(), past

    def keep_durations(self, buckets: tuple[float, ...]) -> None:
        """From now on there is a histogram for each link."""
        self._buckets = buckets
        for connection in list(self.connections.values()):
            connection.link.diagnostics.traffic.timings.keep(buckets)

    def _add_up(self) -> None:
        """Adds the counters of links that have ended, in order, to those of all that had ended before."""
        # Callers that waited for room in a link hear of its end one pass of the event loop later.
        while self._leaving:
            link, name = self._leaving[0]
            counters = link.statistics()
            if counters.in_flight:
                break
            self._leaving.popleft()
            self._past += (totals := counters.totals())
            if name is not None:
                self._past_of[name] = self._past_of.pop(name, Statistics()) + totals
        if len(self._past_of) > MAX_NAMES:
            used = {writer.name for writer in self.single()}
            for name in [name for name in self._past_of if name not in used][: len(self._past_of) - MAX_NAMES]:
                del self._past_of[name]
