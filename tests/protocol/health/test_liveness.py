"""The heartbeat of one connection, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpzmq.config import HeartbeatPolicy
from mpzmq.protocol.health.liveness import Heartbeat

POLICY = HeartbeatPolicy(interval=2.0, down_after=5.0, stuck_after=9.0)


def test_a_ping_is_due_an_interval_after_the_last_answer() -> None:
    liveness = Heartbeat(POLICY, 100.0)
    assert not liveness.is_ping_due(101.999)
    assert liveness.is_ping_due(102.0)
    liveness.on_received(101.0)
    assert liveness.is_ping_due(102.0), "what else is heard says nothing of the round trip"
    liveness.on_ping_sent(102.5)
    liveness.on_pong(102.6)
    assert not liveness.is_ping_due(104.5)
    assert liveness.is_ping_due(104.6)


def test_a_finer_clock_measures_the_round_trip() -> None:
    liveness = Heartbeat(POLICY, 0.0)
    liveness.reading = 7000.0001
    liveness.on_ping_sent(2.0)
    liveness.reading = 7000.0004
    liveness.on_pong(2.0)
    assert liveness.rtt == pytest.approx(0.0003)
    assert not liveness.is_ping_due(3.9) and liveness.is_ping_due(4.0)


def test_at_most_one_ping_is_unanswered() -> None:
    liveness = Heartbeat(POLICY, 0.0)
    liveness.on_ping_sent(2.0)
    assert not liveness.is_ping_due(1000.0)
    liveness.on_received(500.0)  # whatever it is, it does not answer the PING
    assert not liveness.is_ping_due(1000.0)
    liveness.on_pong(1000.0)
    liveness.on_received(1000.0)
    assert not liveness.is_ping_due(1001.0)
    assert liveness.is_ping_due(1002.0)


def test_a_new_connection_forgets_the_ping_of_the_old_one() -> None:
    liveness = Heartbeat(POLICY, 0.0)
    liveness.on_ping_sent(2.0)
    liveness.on_connected(10.0)
    assert liveness.last_heard == 10.0
    assert liveness.is_ping_due(12.0)
    liveness.on_pong(13.0)
    assert liveness.rtt is None, "the answer of an old PING says nothing"


def test_silence_and_being_stuck() -> None:
    liveness = Heartbeat(POLICY, 0.0)
    assert not liveness.is_silent(3.999) and liveness.is_silent(4.0)
    assert not liveness.is_stuck(8.999) and liveness.is_stuck(9.0)
    liveness.on_received(9.0)
    assert not liveness.is_silent(12.0) and not liveness.is_stuck(17.9)


def test_without_stuck_after_nothing_is_ever_stuck() -> None:
    assert not Heartbeat(HeartbeatPolicy(), 0.0).is_stuck(1e9)


def test_round_trips_are_smoothed() -> None:
    liveness = Heartbeat(POLICY, 0.0)
    assert liveness.rtt is None
    liveness.on_ping_sent(2.0)
    liveness.on_pong(2.8)
    assert liveness.rtt == pytest.approx(0.8)
    liveness.on_ping_sent(4.0)
    liveness.on_pong(5.6)
    assert liveness.rtt == pytest.approx(0.8 + 0.125 * 0.8)
    liveness.on_pong(9.0)
    assert liveness.rtt == pytest.approx(0.9), "a PONG that nobody asked for"


@pytest.mark.parametrize(
    ("stuck_after", "expected"),
    [(None, [2.0, 4.0, None]), (9.0, [2.0, 4.0, 9.0])],
)
def test_when_the_next_verdict_may_change(stuck_after: float | None, expected: list[float | None]) -> None:
    liveness = Heartbeat(HeartbeatPolicy(stuck_after=stuck_after), 0.0)
    assert liveness.next_check(0.0) == expected[0]
    assert liveness.next_check(1.9) == expected[0]
    liveness.on_ping_sent(2.0)
    assert liveness.next_check(2.0) == expected[1]
    assert liveness.next_check(3.9) == expected[1]
    assert liveness.next_check(4.0) == expected[2]


def test_a_check_without_a_ping_does_not_come_at_once_again() -> None:
    """Before WELCOME no PING leaves: the next check must not be in the past."""
    liveness = Heartbeat(HeartbeatPolicy(), 0.0)
    assert liveness.next_check(2.0) == 4.0
    assert liveness.next_check(4.0) is None


@given(st.floats(0.01, 100.0), st.floats(0.0, 1e6))
def test_what_is_due_is_never_looked_at_too_early(interval: float, heard: float) -> None:
    liveness = Heartbeat(HeartbeatPolicy(interval=interval, down_after=3 * interval), heard)
    when = liveness.next_check(heard)
    assert when is not None
    assert liveness.is_ping_due(when) or when < heard + interval * (1 + 1e-9)
    assert when >= heard + interval


class LivenessMachine(RuleBasedStateMachine):
    """One link's heartbeat, whatever is heard and whenever this side's own event loop is blocked.

    The machine plays the link: it looks when it was told to (``pass_time``) or late (``is_blocked``), sends the PING
    that is due, and takes another connection when the old one is stuck. The model knows when something was heard and
    when the other side was asked, and from these when each verdict is true; it knows nothing of the moments at which
    all links look, only that they are a tenth of an interval apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.policy = POLICY
        self.now = self.heard_at = self.answered_at = 100.0
        self.liveness = Heartbeat(self.policy, self.now)
        self.asked_at: float | None = None
        self.welcomed = self.silent_told = False
        self.samples: list[float] = []

    @initialize(
        interval=st.sampled_from([0.3, 1.0, 2.0]),
        stuck=st.sampled_from([None, 2.05, 4.5]),
        start=st.sampled_from([0.0, 100.0, 1e6 + 0.07]),
    )
    def choose(self, interval: float, stuck: float | None, start: float) -> None:
        stuck_after = None if stuck is None else stuck * interval
        self.policy = HeartbeatPolicy(interval=interval, down_after=3 * interval, stuck_after=stuck_after)
        self.now = self.heard_at = self.answered_at = start
        self.liveness = Heartbeat(self.policy, start)

    # What the model knows

    @property
    def rounding(self) -> float:
        return 1e-9 * max(1.0, self.now)

    @property
    def answer_due(self) -> float:
        """When the other side has had its time to answer."""
        return self.heard_at if self.asked_at is None else self.asked_at + 0.9 * self.policy.interval

    @property
    def silent_from(self) -> float:
        return max(self.heard_at + 2 * self.policy.interval, self.answer_due)

    @property
    def stuck_from(self) -> float | None:
        stuck_after = self.policy.stuck_after
        return None if stuck_after is None else max(self.heard_at + stuck_after, self.answer_due)

    # The link

    def look(self, *, late: bool = False) -> None:
        """What a link does at a tick. What it finds is true, and was not true much longer than it may be."""
        liveness, now, bearable = self.liveness, self.now, 0.1 * self.policy.interval + self.rounding
        if self.welcomed and liveness.is_ping_due(now):
            due = self.answered_at + self.policy.interval
            assert self.asked_at is None, "one PING is unanswered already"
            assert due - self.rounding <= now and (late or now <= due + bearable)
            liveness.on_ping_sent(now)
            self.asked_at = now
        if liveness.is_stuck(now):
            assert self.stuck_from is not None and self.stuck_from - self.rounding <= now
            assert late or now <= self.stuck_from + bearable
            self.connect()
        elif liveness.is_silent(now) and not self.silent_told:
            assert self.silent_from - self.rounding <= now and (late or now <= self.silent_from + bearable)
            self.silent_told = True

    @rule(intervals=st.sampled_from([0.0, 0.05, 0.3, 0.95, 1.0, 2.0, 7.0]))
    def pass_time(self, intervals: float) -> None:
        until = self.now + intervals * self.policy.interval
        while (when := self.liveness.next_check(self.now)) is not None and when <= until:
            assert when > self.now, "nothing has changed since the last look"
            self.now = when
            self.look()
        self.now = until
        self.no_verdict_is_missed()

    @rule(intervals=st.sampled_from([0.2, 0.9, 1.5, 3.0, 10.0]))
    def is_blocked(self, intervals: float) -> None:
        """Nobody looks for a while: the other side cannot be blamed for that."""
        asked_before = self.asked_at is not None
        silent_before = self.silent_told
        self.now += intervals * self.policy.interval
        self.look(late=True)
        if self.welcomed and not asked_before:
            assert silent_before or not self.liveness.is_silent(self.now), "it was only asked now"

    def no_verdict_is_missed(self) -> None:
        bearable = 0.1 * self.policy.interval + self.rounding
        if self.welcomed and self.asked_at is None:
            assert self.now <= self.answered_at + self.policy.interval + bearable, "a PING is missing"
        if not self.silent_told:
            assert self.now <= self.silent_from + bearable, "the silence was not seen"
        if self.stuck_from is not None:
            assert self.now <= self.stuck_from + bearable, "it should have been given up"

    # The other side

    @rule()
    def connect(self) -> None:
        """Another connection: nothing of the old one counts."""
        self.liveness.on_connected(self.now)
        self.heard_at = self.answered_at = self.now
        self.asked_at = None
        self.welcomed = self.silent_told = False

    @rule()
    def hear(self) -> None:
        """Whatever it is; the first thing is WELCOME."""
        self.liveness.on_received(self.now)
        if not self.welcomed:
            self.liveness.on_welcome(self.now)
            self.answered_at = self.now
        self.heard_at = self.now
        self.welcomed, self.silent_told = True, False

    @precondition(lambda self: self.welcomed)
    @rule()
    def hear_pong(self) -> None:
        """The answer to a PING; or to none, which says nothing of the round trip."""
        self.hear()
        if self.asked_at is not None:
            self.samples.append(self.now - self.asked_at)
            self.answered_at = self.now
        self.asked_at = None
        self.liveness.on_pong(self.now)

    # What is always so

    @invariant()
    def nobody_is_silent_before_it_had_its_time_to_answer(self) -> None:
        if self.liveness.is_silent(self.now) or self.liveness.is_stuck(self.now):
            assert self.now - self.heard_at >= 2 * self.policy.interval - self.rounding
            assert self.now >= self.answer_due - self.rounding
        assert self.liveness.last_heard == self.heard_at

    @invariant()
    def at_most_one_ping_is_unanswered(self) -> None:
        if self.asked_at is not None:
            assert not self.liveness.is_ping_due(self.now + 1000 * self.policy.interval)

    @invariant()
    def the_next_look_is_not_in_the_past(self) -> None:
        when = self.liveness.next_check(self.now)
        if when is None:
            assert self.policy.stuck_after is None and self.now >= self.silent_from - self.rounding
        else:
            assert when >= self.now

    @invariant()
    def what_is_counted_is_right(self) -> None:
        silence = (self.now - self.heard_at) / self.policy.interval
        assert self.liveness.missed(self.now) in (int(silence - 1e-6), int(silence + 1e-6))
        if not self.samples:
            assert self.liveness.rtt is None
        else:
            assert self.liveness.rtt is not None
            assert min(self.samples) - self.rounding <= self.liveness.rtt <= max(self.samples) + self.rounding

    def teardown(self) -> None:
        """Whoever stays silent is found out."""
        silent_before = self.silent_told
        self.pass_time(20.0)
        assert silent_before or self.silent_told or self.policy.stuck_after is not None


TestHeartbeatInAnyOrder = LivenessMachine.TestCase
TestHeartbeatInAnyOrder.settings = settings(max_examples=75, stateful_step_count=50)
