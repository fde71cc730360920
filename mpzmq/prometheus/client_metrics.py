"""The metrics of workers: of their containers, and of their groups."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..models import LinkState
from ..statistics import GroupStatistics, Statistics
from .families import counter, duration, gauge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from ..engine.worker import ComputerEngineWorker
    from .families import Labels

__all__ = ["client_metrics"]


class _Clients:
    """What there is of some workers: single containers and groups, each with its links added up.

    Members of a group are many, and come and go: their links are told as those of the group.
    """

    def __init__(self, workers: Sequence[ComputerEngineWorker]) -> None:
        self.links: dict[tuple[str, str], Statistics] = {}
        self.states: Counter[tuple[tuple[str, str], LinkState]] = Counter()
        self.groups: dict[str, GroupStatistics] = {}
        past: list[dict[str, Statistics]] = []
        past_groups: list[dict[str, GroupStatistics]] = []
        for worker in workers:
            handles, ended = worker._links.counted_by_name()
            past.append(ended)
            for handle in handles:
                self._add(("container", handle.name), handle.statistics(), [handle.state])
            groups, closed = worker._groups.counted_by_name()
            past_groups.append(closed)
            for group in groups:
                self._add_group(group.name, group.statistics(), [one.state for one in group.members])
        for ended in past:
            for name, counted in ended.items():
                if ("container", name) in self.links:  # what the others count must not fall because of this
                    self._add(("container", name), counted, [])
        for closed in past_groups:
            for name, of_group in closed.items():
                if ("group", name) in self.links:
                    self._add_group(name, of_group, [])

    def _add(self, whose: tuple[str, str], counted: Statistics, states: Sequence[LinkState]) -> None:
        self.links[whose] = self.links.get(whose, Statistics()) + counted
        self.states.update((whose, state) for state in states)

    def _add_group(self, name: str, counted: GroupStatistics, states: Sequence[LinkState]) -> None:
        self.groups[name] = self.groups.get(name, GroupStatistics()) + counted
        self._add(("group", name), counted.links, states)

    def requests(self) -> Iterator[tuple[Labels, float]]:
        """Requests that have ended. A group's are counted once, however many members were asked."""
        every: list[tuple[tuple[str, str], Statistics | GroupStatistics]] = [
            (whose, counted) for whose, counted in self.links.items() if whose[0] == "container"
        ]
        every += [(("group", name), counted) for name, counted in self.groups.items()]
        for (label, name), counted in every:
            ends = {"replied": counted.replied, "cancelled": counted.cancelled, **counted.errors}
            for outcome, count in ends.items():
                yield {label: name, "outcome": outcome}, count

    def of_links(self, attribute: str) -> Iterator[tuple[Labels, float]]:
        """One counter of all links."""
        for (label, name), counted in self.links.items():
            value = getattr(counted, attribute)
            if value is not None:
                yield {label: name}, value

    def of_groups(self, attribute: str) -> Iterator[tuple[Labels, float]]:
        """One counter of all groups."""
        return (({"group": name}, getattr(counted, attribute)) for name, counted in self.groups.items())

    def links_by_state(self) -> Iterator[tuple[Labels, float]]:
        """How many links are in each state."""
        for label, name in self.links:
            for state in LinkState:
                yield {label: name, "state": str(state)}, self.states[(label, name), state]


def client_metrics(workers: Sequence[ComputerEngineWorker]) -> Iterator[Metric]:
    """All families, of all workers together."""
    clients = _Clients(workers)
    yield counter(
        "mpzmq_client_requests",
        "Requests that have ended: replied, cancelled, or with an error of this class.",
        clients.requests(),
    )
    yield gauge("mpzmq_client_in_flight_requests", "Requests that have not ended.", clients.of_links("in_flight"))
    yield duration(
        "mpzmq_client_request_duration_seconds",
        "From when requests were made until their replies.",
        (
            ({label: name}, counted.seconds, counted.timed, counted.durations)
            for (label, name), counted in clients.links.items()
        ),
    )
    yield gauge("mpzmq_client_links", "Links by state.", clients.links_by_state())
    yield gauge(
        "mpzmq_client_round_trip_seconds",
        "The smoothed round trip of a heartbeat; of several links that of the slowest.",
        clients.of_links("rtt"),
    )
    yield counter("mpzmq_client_sent_bytes", "Bytes sent to containers.", clients.of_links("sent_bytes"))
    yield counter("mpzmq_client_received_bytes", "Bytes received from containers.", clients.of_links("received_bytes"))
    yield counter("mpzmq_client_reconnects", "How often a lost link came back.", clients.of_links("reconnects"))
    yield counter("mpzmq_client_failed_dials", "Redials that failed.", clients.of_links("attempts"))
    yield counter(
        "mpzmq_client_resent_requests", "Requests that were sent again after a reconnect.", clients.of_links("resent")
    )
    yield counter("mpzmq_client_late_replies", "Replies to requests that had ended already.", clients.of_links("late"))
    yield counter("mpzmq_client_retries", "Tries of a request behind its first.", clients.of_groups("retried"))
    yield counter("mpzmq_client_hedges", "Requests of which a second member was asked.", clients.of_groups("hedged"))
    yield counter("mpzmq_client_ejections", "How often a member was ejected.", clients.of_groups("ejections"))
