"""The metrics of containers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..statistics import Durations, FunctionStatistics, ServerStatistics
    from .families import Families, Labels

__all__ = ["server_metrics"]

OUTCOMES = ("replied", "failed", "refused", "cancelled")


def server_metrics(families: Families, servers: Sequence[ServerStatistics]) -> Iterator[Any]:
    """All families, of all servers together."""
    functions = _by_function(servers)

    def of_functions(attribute: str) -> Iterable[tuple[Labels, float]]:
        return (({"function": name}, sum(getattr(one, attribute) for one in all_)) for name, all_ in functions.items())

    def of_servers(attribute: str) -> Iterable[tuple[Labels, float]]:
        return [({}, sum(getattr(server, attribute) for server in servers))]

    counter, gauge = families.counter, families.gauge
    yield counter(
        "mpzmq_server_requests",
        "Requests that have ended, by function and by how.",
        (
            ({"function": name, "outcome": outcome}, sum(getattr(one, outcome) for one in all_))
            for name, all_ in functions.items()
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
    yield families.durations(
        "mpzmq_server_request_duration_seconds",
        "For how long handlers were at work, with what stands around them.",
        (
            (
                {"function": name},
                sum(one.seconds for one in all_),
                sum(one.timed for one in all_),
                _together([one.durations for one in all_]),
            )
            for name, all_ in functions.items()
        ),
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


def _by_function(servers: Sequence[ServerStatistics]) -> dict[str, list[FunctionStatistics]]:
    found: defaultdict[str, list[FunctionStatistics]] = defaultdict(list)
    for server in servers:
        for name, one in server.functions.items():
            found[name].append(one)
    return found


def _together(all_: Sequence[Durations | None]) -> Durations | None:
    total: Durations | None = None
    for one in all_:
        total = one if total is None else total if one is None else total + one
    return total
