"""Which members may be asked."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
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
        self._place: dict[_C, int] = {}  # in the order of the group
        self._ready: list[_C] = []
        self._busy: list[_C] = []
        self._ejected: list[_C] = []
        self._tier: dict[_C, list[_C]] = {}  # in which of these a member is
        self._instance: dict[_C, object] = {}  # of those that are up
        self._owner: dict[object, _C] = {}  # the other way round
        self._cold: dict[_C, None] = {}  # the one that has come first in front
        self._winners: dict[bytes, _C] = {}
        self._together = math.inf  # who has come by then came with the first
        self._has_doubles = False
        self._is_sorted = False

    def refresh(self, member: _C | None = None, now: float = 0.0) -> None:
        """Something has changed of the members.

        Args:
            member: what has changed is its link, and nothing else: the others are where they were, and of ten thousand
                that come back at once none has to be looked at ten thousand times. None: anything may have changed.
            now: the time.
        """
        self._is_sorted = self._is_sorted and member is not None and self._moved(member, now)

    def members(self) -> list[_C]:
        """Those of this pool; of several with one instance, which are one container, only one."""
        if self._is_sorted and not self._has_doubles:
            return list(self._members)
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
        while True:
            if not self._is_sorted:
                self._sort(now)
            if self._cold:
                self._warm_up(now)
            ready = self._ready
            if ready and self._max_in_flight is None and key is None and not passed and not self._cold:
                found = self.picker.pick(ready, now) if len(ready) > 1 else ready[0]
                if found.is_able and found.has_room:
                    return found
            other = self._of_key(key, passed) if key is not None else self._picked(now, passed)
            if other is None or other.is_able:
                return other
            self.refresh(other, now)  # its link has changed, and nobody has told

    def able(self, now: float, passed: Collection[_C] = ()) -> list[_C]:
        """All that may be asked, of the best kind that there is."""
        if not self._is_sorted:
            self._sort(now)
        some = (self._willing(tier, passed) for tier in self._tiers())
        return next((able for tier in some if (able := [member for member in tier if member.is_able])), [])

    def is_open(self, now: float) -> bool:
        """Whether anybody may be asked."""
        if not self._is_sorted:
            self._sort(now)
        return any(member.is_able and self._is_willing(member) for tier in self._tiers() for member in tier)

    def _tiers(self) -> tuple[list[_C], list[_C], list[_C]]:
        return self._ready, self._busy, self._ejected

    def _picked(self, now: float, passed: Collection[_C]) -> _C | None:
        for tier in self._tiers():
            # Links have room, as a rule: all are asked for it where the one that was picked has none.
            able = tier if self._max_in_flight is None and not passed else self._willing(tier, passed)
            if able and (member := self._sparing(able, now)).has_room:
                return member
            if able := self._willing(tier, passed):
                return self.picker.pick(able, now)
        return None

    def _sparing(self, able: list[_C], now: float) -> _C:
        """One of some: who has come lately more often as time goes on, or where the others have much more to do."""
        member = self.picker.pick(able, now)
        if member not in self._cold or self._random() < (share := _share(member, now)):
            return member
        warm = [other for other in able if other not in self._cold]
        if not warm:
            return member
        other = self.picker.pick(warm, now)
        return member if member.in_flight + 1 < (other.in_flight + 1) * share else other

    def _matching(self) -> list[_C]:
        return [member for member in list(self._all.values()) if self._is_matching(member)]

    def _is_matching(self, member: _C) -> bool:
        return self._labels.items() <= member.labels.items()

    def _sort(self, now: float) -> None:
        self._is_sorted = False
        members = self.members()
        weights = [member.weight for member in members]
        if members != self._members or weights != self._weights:
            self._members, self._weights = members, weights
            self._winners.clear()
        self._has_doubles = len(members) != len(self._matching())
        self._place = {member: number for number, member in enumerate(members)}
        self._ready, self._busy, self._ejected = [], [], []
        self._tier.clear()
        self._instance = {member: member.link.instance for member in members if member.link.is_running}
        self._owner = {instance: member for member, instance in self._instance.items()}
        for member in members:
            if (tier := self._tier_of(member)) is not None:
                tier.append(member)
                self._tier[member] = tier
        self._together = min((member.up_since for member in self._ready), default=math.inf) + TOGETHER
        cold = [member for member in self._ready if self._is_cold(member, now)]
        self._cold = dict.fromkeys(sorted(cold, key=lambda member: member.up_since))
        self._is_sorted = True

    def _moved(self, member: _C, now: float) -> bool:
        """Puts one member where it belongs now. Returns False where all have to be looked at."""
        if member not in self._place:
            return not self._is_matching(member)
        link = member.link
        instance = link.instance if link.is_running else None
        if self._has_doubles or self._owner.get(instance, member) is not member:
            return False
        self._owner.pop(self._instance.pop(member, None), None)
        if instance is not None:
            self._instance[member] = instance
            self._owner[instance] = member
        place = self._place.__getitem__
        if (old := self._tier.pop(member, None)) is not None:
            del old[bisect_left(old, place(member), key=place)]
        self._cold.pop(member, None)
        if (new := self._tier_of(member)) is not None:
            if new is self._ready and not new:
                self._together = member.up_since + TOGETHER
            insort(new, member, key=place)
            self._tier[member] = new
            if new is self._ready and self._is_cold(member, now):
                self._cold[member] = None
        return True

    def _tier_of(self, member: _C) -> list[_C] | None:
        if not member.is_able or member.holds:
            return None
        if member.ejected_until is not None:
            return self._ejected
        return self._busy if member.link.state is LinkState.BUSY else self._ready

    def _is_cold(self, member: _C, now: float) -> bool:
        return self._together < member.up_since and now < member.up_since + WARM_FOR

    def _warm_up(self, now: float) -> None:
        """Those that have come long enough ago are like the others."""
        cold = self._cold
        while cold:
            first = next(iter(cold))
            if now < first.up_since + WARM_FOR:
                return
            del cold[first]

    def _willing(self, tier: list[_C], passed: Collection[_C]) -> list[_C]:
        return [member for member in tier if member not in passed and self._is_willing(member)]

    def _is_willing(self, member: _C) -> bool:
        most = self._max_in_flight
        return (most is None or member.in_flight < most) and member.has_room

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
