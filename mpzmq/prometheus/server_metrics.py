"""The metrics of containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..statistics import ServerStatistics
from .families import counter, duration, gauge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from .families import Labels

__all__ = ["server_metrics"]

OUTCOMES = ("replied", "failed", "refused", "cancelled")


def server_metrics(servers: Sequence[ServerStatistics]) -> Iterator[Metric]:
    """All families, of all servers together."""
    every = sum(servers, ServerStatistics())
    functions = every.functions

    def of_functions(attribute: str) -> Iterable[tuple[Labels, float]]:
        return (({"function": name}, getattr(one, attribute)) for name, one in functions.items())

    def of_servers(attribute: str) -> Iterable[tuple[Labels, float]]:
        return [({}, getattr(every, attribute))]

    yield counter(
        "mpzmq_server_requests",
        "Requests that have ended, by function and by how.",
        (
            ({"function": name, "outcome": outcome}, getattr(one, outcome))
            for name, one in functions.items()
            for outcome in OUTCOMES
        ),
    )
    yield counter(
        "mpzmq_server_rejected_requests",
        "Refused requests that were turned away before any handler or middleware was asked.",
        of_functions("rejected"),
    )
    yield gauge("mpzmq_server_running_requests", "Requests whose handler is at work.", of_functions("running"))
    yield gauge("mpzmq_server_queued_requests", "Requests that wait for their turn.", of_functions("queued"))
    yield duration(
        "mpzmq_server_request_duration_seconds",
        "For how long handlers were at work, with what stands around them.",
        (({"function": name}, one.seconds, one.timed, one.durations) for name, one in functions.items()),
    )
    yield counter(
        "mpzmq_server_waiting_seconds",
        "For how long requests had waited in the container before their handlers began.",
        of_functions("waiting_seconds"),
    )
    yield gauge("mpzmq_server_engines", "Engines that are connected.", of_servers("sessions"))
    yield gauge(
        "mpzmq_server_unread_bytes", "Bytes of replies and items that wait for engines.", of_servers("waiting_bytes")
    )
    yield counter(
        "mpzmq_server_repeated_requests",
        "Requests that came again after a lost connection, and did not run again.",
        of_servers("repeated"),
    )
    yield counter(
        "mpzmq_server_undeliverable_replies",
        "Replies that their engine has not acknowledged, and can not get any more.",
        of_servers("undeliverable"),
    )
    yield counter("mpzmq_server_ignored_messages", "Messages that could not be used.", of_servers("ignored"))
