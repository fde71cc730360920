"""Requests that have not ended, and the earliest of many deadlines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.protocol.encoder import Encoder
from mpzmq.protocol.pending import Deadlines, Entry, PendingTable, remaining_ms, request_in_words
from mpzmq.protocol.wire import Op

from .support import make_entry, tag

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.mark.parametrize(
    ("deadline", "now", "expected"),
    [(None, 5.0, None), (6.0, 5.0, 1001), (5.0005, 5.0, 1), (5.0, 5.0, 1), (4.0, 5.0, 1), (5.0015, 5.0, 2)],
)
def test_remaining_time_is_rounded_up(deadline: float | None, now: float, expected: int | None) -> None:
    assert remaining_ms(deadline, now) == expected


def test_the_remaining_time_is_written_anew_when_a_request_has_waited() -> None:
    entry = make_entry(ENCODER, 1, now=10.0, deadline=12.0, data="x")
    body = entry.body
    assert entry.stale_at == pytest.approx(10.05)
    entry.refresh(11.0)
    assert entry.stale_at == pytest.approx(11.05)
    assert msgpack.unpackb(entry.body)[2] == 1001
    assert msgpack.unpackb(entry.body)[:2] + msgpack.unpackb(entry.body)[3:] == (
        msgpack.unpackb(body)[:2] + msgpack.unpackb(body)[3:]
    )
    entry.refresh(13.0)
    assert msgpack.unpackb(entry.body)[2] == 1


def test_a_request_without_deadline_is_never_written_anew() -> None:
    entry = make_entry(ENCODER, 1, now=10.0)
    assert entry.stale_at == math.inf and msgpack.unpackb(entry.body)[2] is None


def test_a_short_deadline_makes_a_request_stale_sooner() -> None:
    assert make_entry(ENCODER, 1, now=10.0, deadline=10.1).stale_at == pytest.approx(10.01)


def test_bodies_are_compared_without_what_changes() -> None:
    one = make_entry(ENCODER, 1, 1, deadline=5.0, data=[1, b"x" * 20_000])
    assert one.has_body_of(make_entry(ENCODER, 2, 9, deadline=7.0, data=[1, b"x" * 20_000]))
    assert not one.has_body_of(make_entry(ENCODER, 1, 1, data=[1, b"y" * 20_000]))
    assert not one.has_body_of(make_entry(ENCODER, 1, 1, data=[2, b"x" * 20_000]))
    assert not one.has_body_of(make_entry(ENCODER, 1, 1, data=[1, b"x" * 20_000], function="other"))


def test_requests_in_words() -> None:
    assert make_entry(ENCODER, 1, function="add").what == "the call of 'add'"
    assert request_in_words(Op.INVOKE, None) == "the INVOKE request"
    assert request_in_words(Op.SETSTATE, None) == "the SETSTATE request"
    assert request_in_words(Op.GETSTATE, None) == "the GETSTATE request"
    assert request_in_words(Op.DESCRIBE, None) == "the describe request"
    assert request_in_words(99, None) == "the unknown request"
