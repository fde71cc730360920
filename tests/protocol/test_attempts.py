"""Redials, counted."""

from __future__ import annotations

import pytest

from mpzmq.config import ReconnectPolicy
from mpzmq.protocol.attempts import Attempts


def redials_until_exhausted(attempts: Attempts, most: int = 50) -> int:
    count = 0
    while not attempts.exhausted and count < most:
        attempts.dial_failed()
        count += 1
    return count


@pytest.mark.parametrize("allowed", [0, 1, 3, 10])
def test_exactly_so_many_redials_after_a_loss(allowed: int) -> None:
    attempts = Attempts(ReconnectPolicy(max_attempts=allowed))
    attempts.greeted()
    assert redials_until_exhausted(attempts) == attempts.failed == attempts.total == allowed


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_first_dial_is_no_redial(allowed: int) -> None:
    attempts = Attempts(ReconnectPolicy(max_attempts=allowed))
    attempts.dial_failed()
    assert (attempts.failed, attempts.total) == (0, 0)
    assert redials_until_exhausted(attempts) == allowed


def test_none_redials_for_ever() -> None:
    attempts = Attempts(ReconnectPolicy(max_attempts=None))
    assert redials_until_exhausted(attempts, 1000) == 1000
    assert not attempts.exhausted


@pytest.mark.parametrize("allowed", [None, 0, 5])
def test_a_policy_that_is_switched_off(allowed: int | None) -> None:
    assert Attempts(ReconnectPolicy(enabled=False, max_attempts=allowed)).exhausted


def test_only_welcome_resets_the_count() -> None:
    attempts = Attempts(ReconnectPolicy(max_attempts=3))
    attempts.greeted()
    attempts.dial_failed()
    attempts.dial_failed()
    assert (attempts.failed, attempts.total) == (2, 2)
    attempts.greeted()
    assert (attempts.failed, attempts.total) == (0, 2)
    assert redials_until_exhausted(attempts) == 3
    assert attempts.total == 5
