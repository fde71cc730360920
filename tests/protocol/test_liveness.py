"""The heartbeat of one connection, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import HeartbeatPolicy
from mpzmq.protocol.liveness import Liveness

POLICY = HeartbeatPolicy(interval=2.0, down_after=5.0, stuck_after=9.0)


def test_a_ping_is_due_after_an_interval_of_silence() -> None:
    liveness = Liveness(POLICY, 100.0)
    assert not liveness.is_ping_due(101.999)
    assert liveness.is_ping_due(102.0)
    liveness.heard(101.0)
    assert not liveness.is_ping_due(102.9)
    assert liveness.is_ping_due(103.0)


def test_at_most_one_ping_is_unanswered() -> None:
    liveness = Liveness(POLICY, 0.0)
    liveness.pinged(2.0)
    assert not liveness.is_ping_due(1000.0)
    liveness.heard(500.0)  # whatever it is, it does not answer the PING
    assert not liveness.is_ping_due(1000.0)
    liveness.ponged(1000.0)
    liveness.heard(1000.0)
    assert not liveness.is_ping_due(1001.0)
    assert liveness.is_ping_due(1002.0)


def test_a_new_connection_forgets_the_ping_of_the_old_one() -> None:
    liveness = Liveness(POLICY, 0.0)
    liveness.pinged(2.0)
    liveness.connected(10.0)
    assert liveness.last_heard == 10.0
    assert liveness.is_ping_due(12.0)
    liveness.ponged(13.0)
    assert liveness.rtt is None, "the answer of an old PING says nothing"


def test_silence_and_being_stuck() -> None:
    liveness = Liveness(POLICY, 0.0)
    assert not liveness.is_silent(3.999) and liveness.is_silent(4.0)
    assert not liveness.is_stuck(8.999) and liveness.is_stuck(9.0)
    liveness.heard(9.0)
    assert not liveness.is_silent(12.0) and not liveness.is_stuck(17.9)


def test_without_stuck_after_nothing_is_ever_stuck() -> None:
    assert not Liveness(HeartbeatPolicy(), 0.0).is_stuck(1e9)


def test_round_trips_are_smoothed() -> None:
    liveness = Liveness(POLICY, 0.0)
    assert liveness.rtt is None
    liveness.pinged(2.0)
    liveness.ponged(2.8)
    assert liveness.rtt == pytest.approx(0.8)
    liveness.pinged(4.0)
    liveness.ponged(5.6)
    assert liveness.rtt == pytest.approx(0.8 + 0.125 * 0.8)
    liveness.ponged(9.0)
    assert liveness.rtt == pytest.approx(0.9), "a PONG that nobody asked for"


@pytest.mark.parametrize(
    ("stuck_after", "expected"),
    [(None, [2.0, 4.0, None]), (9.0, [2.0, 4.0, 9.0])],
)
def test_when_the_next_verdict_may_change(stuck_after: float | None, expected: list[float | None]) -> None:
    liveness = Liveness(HeartbeatPolicy(stuck_after=stuck_after), 0.0)
    assert liveness.next_check(0.0) == expected[0]
    assert liveness.next_check(1.9) == expected[0]
    liveness.pinged(2.0)
    assert liveness.next_check(2.0) == expected[1]
    assert liveness.next_check(3.9) == expected[1]
    assert liveness.next_check(4.0) == expected[2]


def test_a_check_without_a_ping_does_not_come_at_once_again() -> None:
    """Before WELCOME no PING leaves: the next check must not be in the past."""
    liveness = Liveness(HeartbeatPolicy(), 0.0)
    assert liveness.next_check(2.0) == 4.0
    assert liveness.next_check(4.0) is None


@given(st.floats(0.01, 100.0), st.floats(0.0, 1e6))
def test_what_is_due_is_never_looked_at_too_early(interval: float, heard: float) -> None:
    liveness = Liveness(HeartbeatPolicy(interval=interval, down_after=3 * interval), heard)
    when = liveness.next_check(heard)
    assert when is not None
    assert liveness.is_ping_due(when) or when < heard + interval * (1 + 1e-9)
    assert when >= heard + interval
