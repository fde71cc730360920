"""What the admin endpoints of a worker tell of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..admin.status import about, counters
from ..models import LinkState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from ..runtime.lifecycle import Lifecycle
    from ..statistics import Statistics
    from .group_member import GroupMember
    from .group_state import GroupState
    from .link_driver import LinkDriver
    from .links import Links

__all__ = ["WorkerStatus"]

MAX_REASONS = 20
"""Lines that say why a worker is not ready: of a thousand links that are down, some will do."""


UP = (LinkState.ALIVE, LinkState.BUSY, LinkState.DRAINING)
"""States of a link whose connection stands: what failed before it did is over."""


class WorkerStatus:
    """How a worker is.

    Args:
        worker: which.
        name: what it calls itself.
        lifecycle: its life.
        links: its links.
        groups: its groups.
    """

    def __init__(
        self,
        worker: object,
        name: str,
        lifecycle: Lifecycle,
        links: Links,
        groups: Iterable[GroupState],
    ) -> None:
        self.target = worker
        self.name = f"worker {name!r}"
        self._own_name = name
        self._lifecycle = lifecycle
        self._links = links
        self._groups = groups

    def not_ready(self) -> list[str]:
        """Why not all that was connected can be talked to."""
        if self._lifecycle.is_ending:
            return ["closing: it ends its links"]
        links = [connection.link for connection in self._links.connections.values()]
        down = [link for link in links if link.once and link.state is not LinkState.ALIVE]
        groups = [group for group in self._groups if not any(_is_alive(member) for member in group.members.values())]
        reasons = [f"{group.whom}: of its {len(group.members)} members none is ALIVE" for group in groups]
        reasons += [f"{link.whom} is {link.state}" for link in down]
        more = len(reasons) - MAX_REASONS
        return reasons if more <= 0 else [*reasons[:MAX_REASONS], f"and {more} more"]

    def status(self) -> dict[str, Any]:
        """All that is told, link by link."""
        total, connections = self._links.snapshot()
        times = time.time() - self._lifecycle.loop_bound.require().time()

        def containers() -> Iterator[dict[str, Any]]:
            nonlocal total
            for remote_id, connection in connections:
                statistics = connection.link.statistics()
                total += statistics
                yield _container(remote_id, connection, statistics, times)

        return {
            **about("worker", self._own_name, self._lifecycle.loop_bound.age(), self.not_ready()),
            "containers": containers(),
            "statistics": lambda: counters(total),
            "groups": (_group(group) for group in list(self._groups)),
        }


def _is_alive(member: GroupMember) -> bool:
    return member.link.state is LinkState.ALIVE


def _container(remote_id: UUID, connection: LinkDriver, statistics: Statistics, times: float) -> dict[str, Any]:
    link = connection.link
    state, at, reason = link.diagnostics.latest_change
    return {
        "name": link.error_factory.name,
        "address": connection.address.text,
        "remote_id": str(remote_id),
        "instance": None if link.instance is None else str(link.instance),
        "state": str(state),
        "since": round(at + times, 3),
        "reason": reason,
        "failure": None if state in UP or link.failure is None else link.failure.detail,
        "status": None if link.status is None else str(link.status),
        **counters(statistics),
    }


def _group(group: GroupState) -> dict[str, Any]:
    return {
        "name": group.name,
        "statistics": counters(group.statistics()),
        "members": (_member(member) for member in list(group.members.values())),
    }


def _member(member: GroupMember) -> dict[str, Any]:
    return {
        "name": member.name,
        "address": member.endpoint.address,
        "remote_id": str(member.writer.remote_id),
        "state": str(member.link.state),
        "in_flight": member.in_flight,
        "ejected": member.ejected_until is not None,
        "held": member.holds > 0,
        "labels": dict(member.labels),
        "weight": member.weight,
    }
