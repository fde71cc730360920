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

MAX_LISTS = 256
"""Lists whose turns are remembered."""

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


class _Turns:
    """Whose turn it is among some members.

    Args:
        at: where it begins.
        due: what each has of its next turn.
    """

    def __init__(self, at: int, due: list[float]) -> None:
        self._at = at
        self._due = due
        self._heaviest = 0.0

    def next(self, able: list[_C]) -> _C:
        """The next one. Whoever weighs half as much as another is passed over every other time."""
        seen = 0
        while True:
            self._at = at = (self._at + 1) % len(able)
            weight = able[at].weight
            if weight > self._heaviest:
                self._heaviest = weight
            due = self._due[at] + weight / self._heaviest
            if due >= 1:
                self._due[at] = due - 1
                return able[at]
            self._due[at] = due
            seen += 1
            if seen % len(able) == 0:
                self._heaviest = max(member.weight for member in able)  # whoever weighed more has gone


class Rotation:
    """One after the other, by their weights.

    Views of a group, and tries behind a refusal, have lists of their own, and each has its own turns: with one position
    for all, lists that are used by turns never get to some of their members. Lists are told apart by some of their
    names, which takes no longer where they are long.

    Args:
        random: a number from 0 to 1, another one each time. Where a list begins is drawn, so that engines that ask
            once, and end, do not all ask the same member.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._turns: dict[tuple[str, str, str, int], _Turns] = {}

    def pick(self, able: list[_C], now: float) -> _C:
        """The next one."""
        count = len(able)
        key = able[0].name, able[count // 2].name, able[-1].name, count
        turns = self._turns.get(key)
        if turns is None:
            if len(self._turns) >= MAX_LISTS:
                self._turns.clear()
            random = self._random
            turns = self._turns[key] = _Turns(int(random() * count), [random() for _ in able])
        return turns.next(able)

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
