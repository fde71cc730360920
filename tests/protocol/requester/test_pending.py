"""Requests that have not ended, and the earliest of many deadlines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mpzmq.config import Limits
from mpzmq.protocol.requester.pending import SWEEP_INTERVAL, DeadlineSweep, PendingRequests
from mpzmq.protocol.wire.encoder import Encoder
from tests.support.protocol import make_entry, tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpzmq.protocol.requester.request import PendingRequest

ENCODER = Encoder(Limits())


def table(*deadlines: float | None) -> PendingRequests:
    """Requests numbered from 1, with these deadlines."""
    pending = PendingRequests()
    for number, deadline in enumerate(deadlines, 1):
        pending.add(make_entry(ENCODER, number, deadline=deadline))
    return pending


def tags(entries: list[PendingRequest]) -> list[int]:
    return [int.from_bytes(entry.tag, "big") for entry in entries]


def test_requests_stay_in_the_order_of_issue() -> None:
    pending = table(None, None, None)
    assert len(pending) == 3 and tags(list(pending.values())) == [1, 2, 3]
    second = pending.get(tag(2))
    assert second is not None and pending.pop(tag(2)) is second
    assert pending.pop(tag(2), None) is None and pending.get(tag(2)) is None
    assert tags(list(pending.values())) == [1, 3]


def test_taking_all_of_a_kind() -> None:
    pending = table(None, 5.0, None)
    assert tags(pending.take(lambda entry: entry.deadline is None)) == [1, 3]
    assert tags(list(pending.values())) == [2]
    assert pending.take(lambda entry: False) == []


def test_requests_expire_at_their_deadline() -> None:
    pending = table(5.0, None, 3.0, 5.0, 9.0)
    assert pending.next_deadline() == 3.0
    assert pending.expired(2.999) == []
    assert tags(pending.expired(3.0)) == [3]
    assert pending.next_deadline() == 5.0
    assert tags(pending.expired(8.0)) == [1, 4]
    assert tags(pending.expired(100.0)) == [5]
    assert pending.next_deadline() is None
    assert pending.expired(1000.0) == [] and len(pending) == 1


def test_a_request_that_ended_does_not_expire() -> None:
    pending = table(3.0, 5.0)
    pending.pop(tag(1))
    assert pending.expired(4.0) == []
    assert pending.next_deadline() == 5.0
    assert tags(pending.expired(5.0)) == [2]


def test_deadlines_close_together_cost_one_sweep() -> None:
    deadlines = DeadlineSweep()
    values: list[float | None] = [1.0, 1.001, 1.002]
    for value in values:
        deadlines.add(value)
    asked = []

    def all_of_them() -> Iterator[float | None]:
        asked.append(1)
        return iter(values)

    assert not deadlines.sweep(0.999, all_of_them) and not asked
    assert deadlines.sweep(1.0, all_of_them) and len(asked) == 1
    assert deadlines.next() == pytest.approx(1.005)
    assert deadlines.sweep(1.005, all_of_them)
    assert deadlines.next() is None
    assert not deadlines.sweep(2.0, all_of_them)
    deadlines.add(None)
    assert deadlines.next() is None


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=40))
def test_nothing_expires_early_and_nothing_is_forgotten(steps: list[tuple[int, bool]]) -> None:
    """Each step is a pause; then a request is added (with the pause doubled as its time), or the time is looked at."""
    pending = PendingRequests()
    now, number = 0.0, 0
    alive: dict[int, float] = {}
    for pause, adds in steps:
        now += pause / 1000
        if adds:
            number += 1
            alive[number] = now + pause / 500
            pending.add(make_entry(ENCODER, number, deadline=alive[number]))
            continue
        due = sorted(key for key, deadline in alive.items() if deadline <= now)
        assert sorted(tags(pending.expired(now))) == due
        for key in due:
            del alive[key]
    when = pending.next_deadline()
    assert when is not None or not alive
    while alive:
        assert when is not None
        now = max(now, when)
        for key in tags(pending.expired(now)):
            assert alive.pop(key) <= now
        when = pending.next_deadline()


ROUNDING = 1e-9


class PendingMachine(RuleBasedStateMachine):
    """Whatever happens to requests: none ends early, none is missed, and many deadlines cost few looks.

    The model holds the deadlines of what has not ended, in the order of issue. The machine looks when it was told to
    (``pass_time``), at other times as well (``look``), or late, as an event loop does that was blocked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pending = PendingRequests()
        self.open: dict[int, float | None] = {}
        self.now = 100.0
        self.issued = 0
        self.woken = 0

    @rule(timeout=st.sampled_from([None, 0.0, 0.001, 0.004, 0.0051, 0.02, 1.0, 30.0]), count=st.integers(1, 3))
    def issue(self, timeout: float | None, count: int) -> None:
        for _ in range(count):
            self.issued += 1
            self.open[self.issued] = deadline = None if timeout is None else self.now + timeout
            self.pending.add(make_entry(ENCODER, self.issued, deadline=deadline))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A reply came, or the caller waits no more."""
        number = data.draw(st.sampled_from(list(self.open)))
        assert self.pending.pop(tag(number)).deadline == self.open.pop(number)

    @rule(of=st.integers(2, 4))
    def take(self, of: int) -> None:
        """All of a kind end at once, as at a loss."""
        expected = [number for number in self.open if number % of == 0]
        assert tags(self.pending.take(lambda entry: int.from_bytes(entry.tag, "big") % of == 0)) == expected
        for number in expected:
            del self.open[number]

    @rule()
    def look(self) -> None:
        """What is due has ended after a look, whenever it takes place; nothing else has."""
        due = [number for number, deadline in self.open.items() if deadline is not None and deadline <= self.now]
        assert tags(self.pending.expired(self.now)) == due
        for number in due:
            del self.open[number]
        if due and all(deadline is None for deadline in self.open.values()):
            assert self.pending.next_deadline() is None, "it would look for nothing"

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.004, 0.005, 0.05, 2.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        """Time passes, and whoever holds the table looks whenever it was told to."""
        until, last = self.now + seconds, -1.0
        while (when := self.pending.next_deadline()) is not None and when <= until:
            self.now = max(self.now, when)
            assert self.now - last >= SWEEP_INTERVAL - ROUNDING, "it is woken more often than it has to be"
            last = self.now
            self.look()
        self.now = max(self.now, until)
        self.nothing_is_late(SWEEP_INTERVAL)

    @rule(seconds=st.sampled_from([0.003, 0.1, 40.0]))
    def is_blocked(self, seconds: float) -> None:
        """Nobody looks for a while."""
        self.now += seconds
        self.look()

    def nothing_is_late(self, bearable: float) -> None:
        for deadline in self.open.values():
            assert deadline is None or deadline + bearable >= self.now - ROUNDING

    @invariant()
    def nothing_is_forgotten_and_the_order_is_kept(self) -> None:
        assert tags(list(self.pending.values())) == list(self.open)
        assert [entry.deadline for entry in self.pending.values()] == list(self.open.values())

    @invariant()
    def the_next_look_comes_in_time(self) -> None:
        earliest = min((deadline for deadline in self.open.values() if deadline is not None), default=None)
        if earliest is not None:
            when = self.pending.next_deadline()
            assert when is not None and when <= max(earliest, self.now) + SWEEP_INTERVAL + ROUNDING

    def teardown(self) -> None:
        """At the end only what has no deadline is left, and nobody has to look for it."""
        self.pass_time(100.0)
        assert not any(deadline is not None for deadline in self.open.values())
        assert self.pending.next_deadline() is None


TestDeadlinesInAnyOrder = PendingMachine.TestCase
TestDeadlinesInAnyOrder.settings = settings(max_examples=75, stateful_step_count=50)
