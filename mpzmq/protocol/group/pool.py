"""Which members may be asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

from ...models import LinkState
from .rendezvous import ranked, winner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .candidate import Candidate
    from .picking import Picker

__all__ = ["WARM_FOR", "Pool"]

_C = TypeVar("_C", bound="Candidate")

WARM_FOR = 5.0
"""Seconds in which a member that has come gets its share little by little."""

TOGETHER = 1.0
"""Seconds within which members come together: none of them has done more than the others."""

COLD_SHARE = 0.1
"""Of its share, what it gets at first."""

MAX_KEYS = 4096
"""Keys whose members are remembered."""


class Pool(Generic[_C]):
    """Some members, and who of them may be asked.

    Those that are well come first, then those that are BUSY, and only where there are none of these those that are
    ejected. Who is DOWN, DRAINING, STOPPED, held or full is passed over.

    Args:
        members: all, by name; the pool sees it change when :meth:`refresh` is called.
        labels: what those of this pool have among their labels.
        picker: chooses one.
        max_in_flight: requests that one may have; None: any number.
        random: a number from 0 to 1, another one each time.
    """

    def __init__(
        self,
        members: Mapping[str, _C],
        labels: Mapping[str, str],
        picker: Picker,
        max_in_flight: int | None,
        random: Callable[[], float],
    ) -> None:
        self.picker = picker
        self._all = members
        self._labels = labels
        self._max_in_flight = max_in_flight
        self._random = random
        self._members: list[_C] = []
        self._weights: list[float] = []
        self._tiers: list[list[_C]] = []
        self._quick: list[_C] = []  # the first of these, where nothing has to be looked at but who has the least to do
        self._cold: list[_C] = []
        self._winners: dict[bytes, _C] = {}
        self._sorted_until = -math.inf

    def refresh(self) -> None:
        """Something has changed of the members."""
        self._sorted_until = -math.inf

    def members(self) -> list[_C]:
        """Those of this pool; of several with one instance, which are one container, only one."""
        seen: set[object] = set()
        found = []
        for member in sorted(self._matching(), key=lambda member: not member.link.is_running):
            instance = member.link.instance if member.link.is_running else None
            if instance is None or instance not in seen:
                found.append(member)
                seen.add(instance)
        chosen = set(found)
        return [member for member in self._matching() if member in chosen]

    def choose(self, now: float, key: bytes | None = None, passed: Collection[_C] = ()) -> _C | None:
        """Whom to ask.

        Args:
            now: the time.
            key: what belongs to one of them; None: any may be asked.
            passed: who is not to be asked.

        Returns:
            A member; None: there is none that may be asked.
        """
        if self._quick and key is None and not passed and now < self._sorted_until:
            quick = self._quick
            member = self.picker.pick(quick, now) if len(quick) > 1 else quick[0]
            if not member.is_able:
                self.refresh()
            elif member.has_room:
                return member
        while True:
            if now >= self._sorted_until:
                self._sort(now)
            found = self._of_key(key, passed) if key is not None else self._picked(now, passed)
            if found is None or found.is_able:
                return found
            self.refresh()  # its link has changed, and nobody has told

    def able(self, now: float, passed: Collection[_C] = ()) -> list[_C]:
        """All that may be asked, of the best kind that there is."""
        if now >= self._sorted_until:
            self._sort(now)
        some = (self._willing(tier, passed) for tier in self._tiers)
        return next((able for tier in some if (able := [member for member in tier if member.is_able])), [])

    def _picked(self, now: float, passed: Collection[_C]) -> _C | None:
        for tier in self._tiers:
            # Links have room, as a rule: all are asked for it where the one that was picked has none.
            able = tier if self._max_in_flight is None and not passed else self._willing(tier, passed)
            if able and self._cold and tier is self._tiers[0]:
                able = self._warmed(able, now)
            if able and (member := self.picker.pick(able, now)).has_room:
                return member
            if able := self._willing(tier, passed):
                return self.picker.pick(able, now)
        return None

    def _matching(self) -> list[_C]:
        wanted = self._labels.items()
        return [member for member in list(self._all.values()) if wanted <= member.labels.items()]

    def _sort(self, now: float) -> None:
        members = self.members()
        weights = [member.weight for member in members]
        if members != self._members or weights != self._weights:
            self._members, self._weights = members, weights
            self._winners.clear()
        able = [member for member in members if member.is_able and not member.holds]
        well = [member for member in able if member.ejected_until is None]
        ready = [member for member in well if member.link.state is not LinkState.BUSY]
        busy = [member for member in well if member.link.state is LinkState.BUSY]
        ejected = [member for member in able if member.ejected_until is not None]
        self._tiers = [ready, busy, ejected]
        together = min((member.up_since for member in ready), default=0.0) + TOGETHER
        self._cold = [member for member in ready if member.up_since > together and now < member.up_since + WARM_FOR]
        self._quick = ready if self._max_in_flight is None and not self._cold else []
        self._sorted_until = min((member.up_since + WARM_FOR for member in self._cold), default=math.inf)

    def _willing(self, tier: list[_C], passed: Collection[_C]) -> list[_C]:
        most = math.inf if self._max_in_flight is None else self._max_in_flight
        return [member for member in tier if member not in passed and member.in_flight < most and member.has_room]

    def _warmed(self, able: list[_C], now: float) -> list[_C]:
        """Of those that have come lately some, more as time goes on, and all where the others have much more to do."""
        warm = [member for member in able if member not in self._cold]
        if not warm:
            return able
        least = min(member.in_flight for member in warm) + 1
        for member in self._cold:
            share = _share(member, now)
            if member in able and (self._random() < share or member.in_flight + 1 < least * share):
                warm.append(member)
        return warm

    def _of_key(self, key: bytes, passed: Collection[_C]) -> _C | None:
        if not self._members:
            return None
        if (first := self._winners.get(key)) is None:
            if len(self._winners) >= MAX_KEYS:
                self._winners.clear()
            first = self._winners[key] = winner(self._members, key)
        if first.is_well and self._willing([first], passed):
            return first
        able = [member for member in self._members if member.is_able and not member.holds]
        willing = self._willing(able, passed)
        well = [member for member in willing if member.ejected_until is None] or willing
        return next(iter(ranked(well, key)), None)


def _share(member: Candidate, now: float) -> float:
    return COLD_SHARE + (1 - COLD_SHARE) * (now - member.up_since) / WARM_FOR
