"""Who has joined: which JOINs are heeded, whose link goes on, and who has left."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..wire.records import MAX_TEXT, VERSION, Record

if TYPE_CHECKING:
    from uuid import UUID

    from .tokens import Tokens

__all__ = ["JoinedContainer", "LobbyTable"]

MAX_REMEMBERED = 10_000
"""Containers that have left, whose JOINs are not taken for new ones."""

MAX_LABELS = 64


@dataclass(slots=True, eq=False)
class JoinedContainer:
    """One incarnation of a container that has joined.

    Attributes:
        instance: its id.
        name: what it is called here; unique.
        runner: whose token it has; None: that of everybody.
        labels: what it says of itself.
        number: of its last JOIN.
        route: of its connection; None: it has none now.
        away_since: when it lost that.
    """

    instance: UUID
    name: str
    runner: str | None
    labels: dict[str, str]
    number: int
    route: bytes | None
    away_since: float = math.inf


class LobbyTable:
    """The containers that have joined one engine.

    Args:
        rejoin_within: seconds for which one may be without a connection before it has left.
        max_members: that may have joined at the same time.

    Attributes:
        members: by instance.
        by_route: those that are connected.
        reasons: why those have left that had a name last.
        refused: how many JOINs were, by the reason.
    """

    def __init__(self, rejoin_within: float, max_members: int) -> None:
        self._rejoin_within = rejoin_within
        self._max_members = max_members
        self.members: dict[UUID, JoinedContainer] = {}
        self.by_name: dict[str, JoinedContainer] = {}
        self.by_route: dict[bytes, JoinedContainer] = {}
        self._last_numbers: dict[UUID, int] = {}
        self.refused: Counter[str] = Counter()

    def on_join(
        self, route: bytes, record: Record, tokens: Tokens, now: float, wall_time: float
    ) -> tuple[JoinedContainer | None, list[JoinedContainer], str]:
        """A JOIN has come on a connection on which none was accepted before.

        Returns:
            Who has joined, or come again; who has left for it; and, where nobody has joined, why.
        """
        _, versions, instance, number, token, name, labels, _limits = record
        runner, fault = tokens.runner(token, wall_time)
        known = self.members.get(instance)
        last = known.number if known is not None else self._last_numbers.get(instance, -1)
        if not fault:
            fault = self._fault(versions, number, last, labels)
        if not fault and known is not None and known.runner != runner:
            fault = "its instance is that of another runner"
        if not fault and known is None and len(self.members) >= self._max_members:
            fault = f"{self._max_members} containers have joined already"
        if fault:
            self.refused[fault] += 1
            return None, [], fault
        if known is not None:
            if known.route is not None:
                del self.by_route[known.route]
            known.number, known.route, known.away_since = number, route, math.inf
            self.by_route[route] = known
            return known, [], ""
        left: list[JoinedContainer] = []
        name = (name[:MAX_TEXT] or runner or str(instance)) if name else runner or str(instance)
        holder = self.by_name.get(name)
        if holder is not None:
            if holder.route is None and holder.runner == runner:  # the process before, most likely
                self.leave(holder)
                left.append(holder)
            else:
                name = f"{name} ({instance})"
        joined = JoinedContainer(instance, name, runner, dict(labels), number, route)
        self.members[instance] = self.by_name[name] = self.by_route[route] = joined
        return joined, left, ""

    def _fault(self, versions: list[int], number: int, last: int, labels: dict[str, str]) -> str:
        if VERSION not in versions:
            return f"it does not speak version {VERSION} of the protocol"
        if number <= last:
            return "its JOIN has come before: it is a replay"
        if len(labels) > MAX_LABELS:
            return f"it has more than {MAX_LABELS} labels"
        return ""

    def on_lost(self, member: JoinedContainer, now: float) -> None:
        """Its connection has ended."""
        if member.route is not None:
            self.by_route.pop(member.route, None)
            member.route, member.away_since = None, now

    def leave(self, member: JoinedContainer) -> None:
        """It is no member any more."""
        if self.members.get(member.instance) is not member:
            return
        del self.members[member.instance]
        del self.by_name[member.name]
        if member.route is not None:
            self.by_route.pop(member.route, None)
        self._last_numbers[member.instance] = member.number
        if len(self._last_numbers) > MAX_REMEMBERED:
            del self._last_numbers[next(iter(self._last_numbers))]

    def overdue(self, now: float) -> list[JoinedContainer]:
        """Those that have been away for too long."""
        return [member for member in self.members.values() if now >= member.away_since + self._rejoin_within]

    def next_due(self) -> float:
        """When the next one will have been away for too long."""
        return min((member.away_since for member in self.members.values()), default=math.inf) + self._rejoin_within
