"""Who has joined: which JOINs are heeded, whose link goes on, and who has left."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from ..wire.records import MAX_TEXT, VERSION, Record
from .tokens import EXPIRED

if TYPE_CHECKING:
    from uuid import UUID

    from ...security.allow_list import User
    from .tokens import Tokens

__all__ = ["MAX_JOIN_BYTES", "MAX_LABELS", "JoinedContainer", "LobbyTable", "Trust"]

MAX_REMEMBERED = 10_000
"""Containers that have left, whose JOINs are not taken for new ones."""

MAX_LABELS = 64

MAX_JOIN_BYTES = 16 * 1024
"""Of a JOIN: what is larger is not read."""


class Trust(Protocol):
    """The keys that need no token any more."""

    def user(self, key: str | None) -> User | None:
        """Whose key that is; None: it is not trusted."""

    def keep(self, runner: str | None, key: str) -> str:
        """Trusts a key that has come with a good token. Returns why it cannot be; empty: it is."""


@dataclass(slots=True, eq=False)
class JoinedContainer:
    """One incarnation of a container that has joined.

    Attributes:
        instance: its id.
        name: what it is called here; unique.
        runner: whose token it has; None: that of everybody.
        key: that was authenticated on its connection; None: there are no keys.
        labels: what it says of itself.
        number: of its last JOIN.
        route: of its connection; None: it has none now.
        away_since: when it lost that.
    """

    instance: UUID
    name: str
    runner: str | None
    key: str | None
    labels: dict[str, str]
    number: int
    route: bytes | None
    away_since: float = math.inf


class LobbyTable:
    """The containers that have joined one engine.

    Args:
        rejoin_within: seconds for which one may be without a connection before it has left.
        max_members: that may have joined at the same time.
        trust: the keys that are trusted; None: there are no keys.

    Attributes:
        members: by instance.
        by_route: those that are connected.
        refused: how many JOINs were, by the reason.
    """

    def __init__(self, rejoin_within: float, max_members: int, trust: Trust | None = None) -> None:
        self._trust = trust
        self._rejoin_within = rejoin_within
        self._max_members = max_members
        self.members: dict[UUID, JoinedContainer] = {}
        self.by_name: dict[str, JoinedContainer] = {}
        self.by_route: dict[bytes, JoinedContainer] = {}
        self._away: dict[UUID, JoinedContainer] = {}  # in the order of their losses: ten thousand may come in a moment
        self._last_numbers: dict[UUID, int] = {}
        self.refused: Counter[str] = Counter()

    def on_join(
        self, route: bytes, record: Record, tokens: Tokens, now: float, wall_time: float, key: str | None = None
    ) -> tuple[JoinedContainer | None, list[JoinedContainer], str]:
        """A JOIN has come on a connection on which none was accepted before.

        Args:
            route: of the connection.
            record: the JOIN.
            tokens: that are good now.
            now: the time of the event loop.
            wall_time: the Unix time.
            key: that was authenticated on the connection; None: there are no keys.

        Returns:
            Who has joined, or come again; who has left for it; and, where nobody has joined, why.
        """
        _, versions, instance, number, token, name, labels, _limits = record
        known = self.members.get(instance)
        runner, fault = self._runner(token, key, tokens, wall_time, known)
        last = known.number if known is not None else self._last_numbers.get(instance, -1)
        if not fault:
            fault = self._fault(versions, number, last, labels)
        if not fault and known is not None and (known.runner, known.key) != (runner, key):
            fault = "its instance is that of another runner"
        if not fault and known is None and len(self.members) >= self._max_members:
            fault = f"{self._max_members} containers have joined already"
        if not fault and self._trust is not None and key is not None and self._trust.user(key) is None:
            fault = self._trust.keep(runner, key)  # the last of all: nothing is kept of who is refused
        if fault:
            self.refused[fault] += 1
            return None, [], fault
        if known is not None:
            if known.route is not None:
                del self.by_route[known.route]
            known.number, known.route, known.away_since = number, route, math.inf
            self.by_route[route] = known
            self._away.pop(instance, None)
            return known, [], ""
        left: list[JoinedContainer] = []
        name = (name[:MAX_TEXT] or runner or str(instance)) if name else runner or str(instance)
        holder = self.by_name.get(name)
        if holder is not None:
            if holder.route is None and (holder.runner, holder.key) == (runner, key):  # the process before, most likely
                self.leave(holder)
                left.append(holder)
            else:
                name = f"{name} ({instance})"
                while name in self.by_name:  # somebody has called himself so
                    name += "'"
        joined = JoinedContainer(instance, name, runner, key, dict(labels), number, route)
        self.members[instance] = self.by_name[name] = self.by_route[route] = joined
        return joined, left, ""

    def _runner(
        self, token: str, key: str | None, tokens: Tokens, wall_time: float, known: JoinedContainer | None
    ) -> tuple[str | None, str]:
        """Who says JOIN, and what is wrong with the proof."""
        user = None if self._trust is None else self._trust.user(key)
        if user is not None:  # the key has taken the token's place
            return None if user.name == user.key else user.name, ""
        runner, fault = tokens.runner(token, wall_time)
        if fault == EXPIRED and self._trust is None and known is not None and known.runner == runner:
            return runner, ""  # it was good when this process came in, which is the same still
        return runner, fault

    def distrusted(self) -> list[JoinedContainer]:
        """Those whose keys are not trusted any more."""
        trust = self._trust
        return [] if trust is None else [one for one in self.members.values() if trust.user(one.key) is None]

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
            if self.has(member):
                self._away[member.instance] = member

    def has(self, member: JoinedContainer) -> bool:
        """Whether it is a member still: the same instance may have come anew after it."""
        return self.members.get(member.instance) is member

    def leave(self, member: JoinedContainer) -> None:
        """It is no member any more."""
        if not self.has(member):
            return
        del self.members[member.instance]
        del self.by_name[member.name]
        self._away.pop(member.instance, None)
        if member.route is not None:
            self.by_route.pop(member.route, None)
        self._last_numbers[member.instance] = member.number
        if len(self._last_numbers) > MAX_REMEMBERED:
            del self._last_numbers[next(iter(self._last_numbers))]

    def overdue(self, now: float) -> list[JoinedContainer]:
        """Those that have been away for too long."""
        return list(takewhile(lambda member: now >= member.away_since + self._rejoin_within, self._away.values()))

    def next_due(self) -> float:
        """When the next one will have been away for too long."""
        return next((member.away_since for member in self._away.values()), math.inf) + self._rejoin_within
