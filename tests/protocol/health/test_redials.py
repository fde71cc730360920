"""Redials, counted."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mpzmq.config import ReconnectPolicy
from mpzmq.protocol.health.redials import RedialCounter


def redials_until_exhausted(attempts: RedialCounter, most: int = 50) -> int:
    count = 0
    while not attempts.exhausted and count < most:
        attempts.on_dial_failed()
        count += 1
    return count


@pytest.mark.parametrize("allowed", [0, 1, 3, 10])
def test_exactly_so_many_redials_after_a_loss(allowed: int) -> None:
    attempts = RedialCounter(ReconnectPolicy(max_attempts=allowed))
    attempts.on_welcome()
    assert redials_until_exhausted(attempts) == attempts.failed == attempts.total == allowed


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_first_dial_is_no_redial(allowed: int) -> None:
    attempts = RedialCounter(ReconnectPolicy(max_attempts=allowed))
    attempts.on_dial_failed()
    assert (attempts.failed, attempts.total) == (0, 0)
    assert redials_until_exhausted(attempts) == allowed


def test_none_redials_for_ever() -> None:
    attempts = RedialCounter(ReconnectPolicy(max_attempts=None))
    assert redials_until_exhausted(attempts, 1000) == 1000
    assert not attempts.exhausted


@pytest.mark.parametrize("allowed", [None, 0, 5])
def test_a_policy_that_is_switched_off(allowed: int | None) -> None:
    assert RedialCounter(ReconnectPolicy(enabled=False, max_attempts=allowed)).exhausted


def test_only_welcome_resets_the_count() -> None:
    attempts = RedialCounter(ReconnectPolicy(max_attempts=3))
    attempts.on_welcome()
    attempts.on_dial_failed()
    attempts.on_dial_failed()
    assert (attempts.failed, attempts.total) == (2, 2)
    attempts.on_welcome()
    assert (attempts.failed, attempts.total) == (0, 2)
    assert redials_until_exhausted(attempts) == 3
    assert attempts.total == 5


def test_the_first_redial_behind_a_greeted_connection_is_prompt_once_an_interval() -> None:
    attempts = RedialCounter(ReconnectPolicy(interval=2.0))
    assert not attempts.on_redial(0.0)  # a connection that was never greeted
    attempts.on_welcome()
    assert attempts.on_redial(10.0)
    attempts.on_dial_failed()
    assert not attempts.on_redial(15.0)
    attempts.on_welcome()
    assert attempts.on_redial(15.0)
    attempts.on_welcome()
    assert not attempts.on_redial(16.9)
    attempts.on_welcome()
    assert attempts.on_redial(17.0)


class AttemptsMachine(RuleBasedStateMachine):
    """The dials of one link, in any order that a network allows; the machine gives up when it is told to.

    The model counts redials from the last loss on, and knows by itself after which of them a link has to give up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.policy = ReconnectPolicy()
        self.attempts = RedialCounter(self.policy)
        self.dials = self.redials = self.all_redials = 0
        """Dials that failed before there was a WELCOME; redials that failed since the last loss, and ever."""
        self.up, self.over = False, True

    @precondition(lambda self: self.over)
    @rule(enabled=st.sampled_from([True, True, True, False]), most=st.sampled_from([None, 0, 1, 2, 5]))
    def begin(self, enabled: bool, most: int | None) -> None:
        """A new link; the old one has given up."""
        self.policy = ReconnectPolicy(enabled=enabled, max_attempts=most)
        self.attempts = RedialCounter(self.policy)
        self.dials = self.redials = self.all_redials = 0
        self.over = False

    def judge(self) -> None:
        """A dial has failed, or the connection is lost: is it the end?"""
        most = self.policy.max_attempts
        self.over = self.attempts.exhausted
        assert self.over == (not self.policy.enabled or self.redials == most)

    @precondition(lambda self: not (self.up or self.over))
    @rule()
    def dial_fails(self) -> None:
        """Refused, timed out, or broken before WELCOME, busy or not."""
        if self.dials:
            self.redials += 1
            self.all_redials += 1
        self.dials += 1
        self.attempts.on_dial_failed()
        self.judge()

    @precondition(lambda self: not (self.up or self.over))
    @rule()
    def dial_reaches_a_busy_process(self) -> None:
        """No WELCOME yet, but no failure either: nobody tells the counter."""

    @precondition(lambda self: not (self.up or self.over))
    @rule()
    def dial_is_greeted(self) -> None:
        self.up = True
        self.dials += 1
        self.redials = 0
        self.attempts.on_welcome()

    @precondition(lambda self: self.up)
    @rule()
    def connection_is_lost(self) -> None:
        self.up = False
        self.judge()

    @invariant()
    def the_counts_are_right(self) -> None:
        assert (self.attempts.failed, self.attempts.total) == (self.redials, self.all_redials)

    @invariant()
    def no_redial_more_than_allowed(self) -> None:
        most = self.policy.max_attempts
        if not self.policy.enabled:
            assert self.redials == 0
        elif most is not None:
            assert self.redials <= most

    def teardown(self) -> None:
        """From wherever it stands, exactly what is left of the policy is redialled before it is used up."""
        if self.over or self.policy.max_attempts is None or not self.policy.enabled:
            return
        self.attempts.on_dial_failed()
        first = not self.dials
        left = self.policy.max_attempts - self.redials - (not first)
        assert redials_until_exhausted(self.attempts) == max(0, left)


TestDialsInAnyOrder = AttemptsMachine.TestCase
TestDialsInAnyOrder.settings = settings(max_examples=75, stateful_step_count=40)
