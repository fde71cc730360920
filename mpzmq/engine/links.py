"""The links of a worker, by remote id, and the counters of all that it ever had."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..common.timings import agreed_buckets
from ..statistics import Statistics

if TYPE_CHECKING:
    from uuid import UUID

    from ..protocol.link.link import Link
    from .link_driver import LinkDriver
    from .writer import ComputerEngineWriter

__all__ = ["Links"]


class Links:
    """Those of one worker.

    Attributes:
        connections: by remote id.
        writers: the handles of their containers, in the same way.
    """

    def __init__(self) -> None:
        self.connections: dict[UUID, LinkDriver] = {}
        self.writers: dict[UUID, ComputerEngineWriter] = {}
        self._past = Statistics()
        self._leaving: deque[Link] = deque()
        self._buckets: tuple[float, ...] | None = None
        self._members: set[UUID] = set()

    def add(self, connection: LinkDriver, writer: ComputerEngineWriter, *, is_member: bool) -> None:
        """There is one more, that of a group's member or of a container by itself."""
        self.connections[writer.remote_id] = connection
        self.writers[writer.remote_id] = writer
        if is_member:
            self._members.add(writer.remote_id)
        if self._buckets is not None:
            connection.link.diagnostics.traffic.timings.keep(self._buckets)

    def end(self, remote_id: UUID, why: str) -> None:
        """Ends one of them."""
        connection = self.connections.pop(remote_id)
        del self.writers[remote_id]
        self._members.discard(remote_id)
        connection.close(why)
        self._leaving.append(connection.link)
        self._add_up()

    def single(self) -> tuple[ComputerEngineWriter, ...]:
        """The handles of the containers that are in no group. Any thread may ask."""
        return tuple(writer for remote_id, writer in list(self.writers.items()) if remote_id not in self._members)

    def statistics(self) -> Statistics:
        """The counters of all links, those that have ended included."""
        return sum((connection.link.statistics() for connection in list(self.connections.values())), self.past())

    def past(self) -> Statistics:
        """The counters of links that have ended. Changes nothing, since any thread may ask."""
        return sum((link.statistics().totals() for link in list(self._leaving)), self._past)

    def keep_durations(self, buckets: tuple[float, ...]) -> None:
        """From now on there is a histogram for each link.

        Raises:
            ValueError: there are some already with other buckets.
        """
        self._buckets = agreed_buckets(self._buckets, buckets)
        for connection in self.connections.values():
            connection.link.diagnostics.traffic.timings.keep(buckets)

    def _add_up(self) -> None:
        """Adds the counters of links that have ended, in order, to those of all that had ended before."""
        # Callers that waited for room in a link hear of its end one pass of the event loop later.
        while self._leaving and not (counters := self._leaving[0].statistics()).in_flight:
            self._past += counters.totals()
            self._leaving.popleft()
