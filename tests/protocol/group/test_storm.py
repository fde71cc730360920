"""Ten members that fail in all ways, and what must hold all the same."""

from __future__ import annotations

import functools
import heapq
from collections import Counter, defaultdict
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from mpzmq import ConnectionLost, Executed, GroupPolicy, LinkState, Member, Overloaded, RequestError, RequestTimeout
from mpzmq.protocol.group.ejection import Ejection, speaks_of_member
from mpzmq.protocol.group.picking import picker
from mpzmq.protocol.group.pool import Pool
from mpzmq.protocol.group.rendezvous import written_key
from mpzmq.protocol.group.retry_budget import SECONDS, RetryBudget
from mpzmq.protocol.group.tries import Tries
from tests.protocol.group.making import Made, made, seeded

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS_RUN = 60.0
RATE = 40  # requests a second


class Storm:
    """A group on a clock of its own: requests come, members come and go, and fail."""

    def __init__(self, seed: int, pick: str) -> None:
        self.random = seeded(seed)
        self.policy = GroupPolicy(pick=pick, eject_for=3.0, retry_floor=2.0)  # type: ignore[arg-type]
        self.members = made(10)
        self.ejection = Ejection(self.policy)
        self.budget = RetryBudget(self.policy.retry_ratio, self.policy.retry_floor)
        self.pool = Pool(self.members, {}, picker(pick, self.random.random), None, self.random.random)
        self.bad: dict[str, float] = {}  # how often a member fails
        self.ran: Counter[int] = Counter()
        self.requests: list[float] = []
        self.retries: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.ejected = 0
        self.keys: dict[bytes, str] = {}
        self._todo: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()

    def at(self, when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self._todo, (when, next(self._order), what))

    def run(self) -> None:
        for number in range(int(SECONDS_RUN * RATE)):
            self.at(number / RATE, functools.partial(self.request, number))
        for number in range(int(SECONDS_RUN)):
            self.at(number + 0.5, self.weather)
        while self._todo:
            now, _, what = heapq.heappop(self._todo)
            for member in self.ejection.take_back(self.members.values(), now):
                member.up_since = now
                self.pool.refresh()
            what(now)

    def weather(self, now: float) -> None:
        member = self.random.choice(list(self.members.values()))
        turn = self.random.random()
        if turn < 0.25:
            member.facts.go(LinkState.DOWN)
        elif turn < 0.35:
            member.facts.go(LinkState.BUSY)
        elif turn < 0.6:
            self.bad[member.name] = self.random.choice([0.5, 1.0, 1.0])
        else:
            for other in self.members.values():
                if self.random.random() < 0.5:
                    if other.facts.state is LinkState.DOWN:
                        other.up_since = now
                    other.facts.go(LinkState.ALIVE)
                    self.bad.pop(other.name, None)
        self.pool.refresh()

    def request(self, number: int, now: float) -> None:
        idempotent = number % 3 == 0
        self.requests.append(now)
        self.budget.deposit(now)
        self.send(number, Tries(self.policy.max_attempts, idempotent, self.budget), now)

    def send(self, number: int, tries: Tries, now: float) -> None:
        key = written_key(number % 7) if number % 5 == 0 else None
        member = self.pool.choose(now, key, tries.passed)  # type: ignore[arg-type]
        if member is None:
            self.outcomes["nobody"] += 1
            return
        well = [other for other in self.members.values() if other.is_well and other not in tries.passed]
        assert member.ejected_until is None or not well, "an ejected member is asked, and another is well"
        assert member.is_able
        member.in_flight += 1
        error: RequestError | None = None
        if self.random.random() < self.bad.get(member.name, 0.0):
            kind = self.random.choice([Overloaded, ConnectionLost, RequestTimeout])
            error = kind("x")
        if error is None or error.executed is not Executed.NO:
            self.ran[number] += 1  # it may have
        self.at(now + 0.02 + 0.05 * self.random.random(), functools.partial(self.end, number, member, tries, error))

    def end(self, number: int, member: Made, tries: Tries, error: RequestError | None, now: float) -> None:
        member.in_flight -= 1
        if error is None:
            self.pool.picker.on_ended(member, 0.05, now)
            self.ejection.on_answer(member)
            self.outcomes["replied"] += 1
            return
        shown = Member(member.name, "", {}, 1.0, uuid4(), None, member.link.state, 0, False, False)
        tries.on_error(member, shown, error, left=True)
        if speaks_of_member(error, left=True) and self.ejection.on_error(member, self.members.values(), now):
            self.ejected += 1
            assert any(other.is_well for other in self.members.values()), "the last one was ejected"
            away = sum(other.ejected_until is not None for other in self.members.values())
            assert away <= self.policy.max_ejected * len(self.members)
            self.pool.refresh()
        if tries.may_go_on(error, now, left=True):
            self.retries.append(now)
            self.send(number, tries, now)
        else:
            self.outcomes[type(error).__name__] += 1
            assert 1 <= len(tries.summed_up(error).tried) <= self.policy.max_attempts


@pytest.mark.parametrize("pick", ["least", "rotation", "ewma"])
@pytest.mark.parametrize("seed", range(5))
def test_a_storm(seed: int, pick: str) -> None:
    storm = Storm(seed, pick)
    storm.run()
    assert sum(storm.outcomes.values()) == len(storm.requests), "each has one end"
    assert all(times == 1 for number, times in storm.ran.items() if number % 3), "at most once"
    assert storm.retries and storm.ejected, "there was no storm"
    by_second: defaultdict[int, int] = defaultdict(int)
    for when in storm.retries:
        by_second[int(when)] += 1
    asked = Counter(int(when) for when in storm.requests)
    for second in range(int(SECONDS_RUN)):
        if not by_second[second]:
            continue
        window = range(second - SECONDS + 1, second + 1)
        allowed = storm.policy.retry_floor * SECONDS + storm.policy.retry_ratio * sum(asked[at] for at in window)
        assert sum(by_second[at] for at in window) <= allowed + 1e-6
    assert all(member.in_flight == 0 for member in storm.members.values())
