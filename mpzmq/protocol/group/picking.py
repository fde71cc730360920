"""Whom to ask, of those that may be asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from .candidate import Candidate

__all__ = ["Ewma", "Least", "Picker", "Rotation", "picker"]

_C = TypeVar("_C", bound="Candidate")

FEW = 8
"""So many are all looked at; of more, two that are drawn."""

LONG = 0.1
"""Seconds from which on requests are worth a look at everybody: beside them it costs nothing, and two that were drawn
may both be busy while another one is idle."""

DECAY = 10.0
"""Seconds after which a peak of the latency counts for a third."""


class Picker(Protocol):
    """A way to choose."""

    def pick(self, able: list[_C], now: float) -> _C:
        """Chooses one of some, at least one."""

    def on_ended(self, member: Candidate, seconds: float, now: float) -> None:
        """A request of a member has ended with an answer, after so many seconds."""


class Least:
    """The one with the fewest requests in flight for its weight: the better of two that are drawn (gRPC A48).

    What other engines ask of the container counts, as far as its PONGs tell.

    Args:
        random: a number from 0 to 1, another one each time.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._seconds = math.inf  # no request has ended: they may be long

    def pick(self, able: list[_C], now: float) -> _C:
        """The one with the least to do."""
        count = len(able)
        first = int(self._random() * count)
        if count > FEW and self._seconds < LONG:
            one, other = able[first], able[first - 1 - int(self._random() * (count - 1))]
            return one if _load(one) <= _load(other) else other
        best, least = able[first], math.inf
        for number in range(first - count, first):  # from a random one on, since the first of equals is taken
            member = able[number]
            load = (member.in_flight + member.load.others + 1) / member.weight
            if load < least:
                best, least = member, load
        return best

    def on_ended(self, member: Candidate, seconds: float, now: float) -> None:
        """Remembers how long requests take, by a moving average."""
        known = self._seconds
        self._seconds = seconds if known == math.inf else known + (seconds - known) / 16


class Rotation:
    """One after the other, by their weights."""

    def __init__(self) -> None:
        self._at = 0
        self._most = 0.0  # the largest weight

    def pick(self, able: list[_C], now: float) -> _C:
        """The next one. Whoever weighs half as much as another is passed over every other time."""
        seen = 0
        while True:
            self._at = (self._at + 1) % len(able)
            member = able[self._at]
            if member.weight > self._most:
                self._most = member.weight
            member.turn += member.weight / self._most
            if member.turn >= 1:
                member.turn -= 1
                return member
            seen += 1
            if seen % len(able) == 0:
                self._most = max(member.weight for member in able)  # whoever weighed more has gone

    def on_ended(self, member: Candidate, seconds: float, now: float) -> None:
        """How long it took does not matter."""


class Ewma:
    """The one with the least latency times requests in flight: the better of two that are drawn (Finagle's peak EWMA).

    A latency that is higher than what is known counts at once, and is forgotten over some seconds, so that whoever was
    slow is tried again.

    Args:
        random: a number from 0 to 1, another one each time.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def pick(self, able: list[_C], now: float) -> _C:
        """The one where an answer may be expected first."""
        count = len(able)
        first = int(self._random() * count)
        if count > FEW:
            one, other = able[first], able[first - 1 - int(self._random() * (count - 1))]
            return one if _cost(one, now) <= _cost(other, now) else other
        some = able[first:] + able[:first] if first else able
        return min(some, key=lambda member: _cost(member, now))

    def on_ended(self, member: Candidate, seconds: float, now: float) -> None:
        """Remembers how long it took."""
        known = _decayed(member, now)
        if known is not None and seconds < known:
            share = math.exp(-(now - member.latency_at) / DECAY)
            seconds += ((member.latency or 0.0) - seconds) * share
        member.latency, member.latency_at = seconds, now


def _load(member: Candidate) -> float:
    return (member.in_flight + member.load.others + 1) / member.weight


def _cost(member: Candidate, now: float) -> float:
    latency = member.latency
    waiting = member.in_flight + member.load.others
    if latency is None:
        # Nothing is known of it: it is tried, once, and then not again before that has told something.
        return float(waiting) if not waiting else 1e6 * waiting
    return latency * math.exp((member.latency_at - now) / DECAY) * (waiting + 1) / member.weight


def _decayed(member: Candidate, now: float) -> float | None:
    known = member.latency
    return None if known is None else known * math.exp(-(now - member.latency_at) / DECAY)


def picker(name: str, random: Callable[[], float]) -> Picker:
    """The way to choose that ``GroupPolicy.pick`` names."""
    if name == "rotation":
        return Rotation()
    return Ewma(random) if name == "ewma" else Least(random)
