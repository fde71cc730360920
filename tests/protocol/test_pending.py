"""Requests that have not ended, and the earliest of many deadlines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.protocol.encoder import Encoder
from mpzmq.protocol.pending import Deadlines, PendingTable

from .support import make_entry, tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpzmq.protocol.entry import Entry

ENCODER = Encoder(Limits())


def table(*deadlines: float | None) -> PendingTable:
    """Requests numbered from 1, with these deadlines."""
    pending = PendingTable()
    for number, deadline in enumerate(deadlines, 1):
        pending.add(make_entry(ENCODER, number, deadline=deadline))
    return pending


def tags(entries: list[Entry]) -> list[int]:
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
    deadlines = Deadlines()
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
    pending = PendingTable()
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
