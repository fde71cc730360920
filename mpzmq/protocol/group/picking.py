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
        """A member has answered a request with a result, after so many seconds."""

    def on_given_up(self, member: Candidate, seconds: float, now: float) -> None:
        """A request has ended otherwise: by an error, or its caller has left. A result would have taken longer."""


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

    def on_given_up(self, member: Candidate, seconds: float, now: float) -> None:
        """Remembers it where it took longer than others."""
        if seconds > self._seconds:
            self.on_ended(member, seconds, now)


class Rotation:
    """One after the other, by their weights.

    Whose turn it is stands with the members (nginx's smooth weighted round-robin): a position in a list would mean
    another member with each list, and views of a group that are asked in turns would never get to some of theirs.

    Args:
        random: a number from 0 to 1, another one each time.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._from = random()  # engines that ask once, and end, do not all ask the same member

    def pick(self, able: list[_C], now: float) -> _C:
        """The next one: each gets its share of a turn, and whoever has the most then has used up a whole one."""
        count = len(able)
        first = int(self._from * count)
        heaviest = max([member.weight for member in able])
        best, most, sum_of_shares = able[first], -math.inf, 0.0
        for number in range(first - count, first):
            member = able[number]
            share = member.weight / heaviest
            sum_of_shares += share
            member.turn += share
            if member.turn > most:
                best, most = member, member.turn
        best.turn -= sum_of_shares
        return best

    def on_ended(self, member: Candidate, seconds: float, now: float) -> None:
        """How long it took does not matter."""

    def on_given_up(self, member: Candidate, seconds: float, now: float) -> None:
        """Nor does this."""


class Ewma:
    """The one with the least latency times requests in flight: the better of two that are drawn (Finagle's peak EWMA).

    A latency that is higher than what is known counts at once, and is forgotten over some seconds, so that whoever was
    slow is tried again.

    Args:
        random: a number from 0 to 1, another one each time.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._slowest = self._noted_at = 0.0  # the longest that a result has taken lately

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
        if seconds > self._slowest_at(now):
            self._slowest, self._noted_at = seconds, now
        known = _decayed(member, now)
        if known is not None and seconds < known:
            share = math.exp(-(now - member.latency_at) / DECAY)
            seconds += ((member.latency or 0.0) - seconds) * share
        member.latency, member.latency_at = seconds, now

    def on_given_up(self, member: Candidate, seconds: float, now: float) -> None:
        """What is known stands, unless it took longer: an error that comes soon makes nobody look quick. A member that
        has never given a result is taken for as slow as the slowest one lately."""
        known = self._slowest_at(now) if member.latency is None else member.latency
        member.latency, member.latency_at = max(known, seconds), now

    def _slowest_at(self, now: float) -> float:
        return self._slowest * math.exp((self._noted_at - now) / DECAY)


def _load(member: Candidate) -> float:
    return (member.in_flight + member.load.others + 1) / member.weight


def _cost(member: Candidate, now: float) -> float:
    latency = member.latency
    waiting = member.in_flight + member.load.others
    if latency is None:
        # Nothing is known of it: it is tried, once, and then not again before that has told something. Others that
        # keep it busy are no reason against that: it would never be tried.
        return 1e6 * waiting if member.in_flight else 0.0
    return latency * math.exp((member.latency_at - now) / DECAY) * (waiting + 1) / member.weight


def _decayed(member: Candidate, now: float) -> float | None:
    known = member.latency
    return None if known is None else known * math.exp(-(now - member.latency_at) / DECAY)


def picker(name: str, random: Callable[[], float]) -> Picker:
    """The way to choose that ``GroupPolicy.pick`` names."""
    if name == "rotation":
        return Rotation(random)
    return Ewma(random) if name == "ewma" else Least(random)
