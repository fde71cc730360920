"""Tries behind the first stay within their share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mpzmq.protocol.group.retry_budget import SECONDS, RetryBudget


def taken(budget: RetryBudget, now: float, wanted: int) -> int:
    return sum(budget.withdraw(now) for _ in range(wanted))


def test_a_floor_for_groups_with_little_to_do() -> None:
    budget = RetryBudget(0.2, 10.0)
    assert taken(budget, 0.0, 1000) == 100
    assert taken(budget, 9.9, 1000) == 0
    assert taken(budget, 10.0, 1000) == 100


def test_a_share_of_the_requests() -> None:
    budget = RetryBudget(0.2, 0.0)
    assert taken(budget, 0.0, 1) == 0
    for _ in range(1000):
        budget.deposit(5.0)
    assert taken(budget, 5.5, 1000) == 200
    for _ in range(1000):
        budget.deposit(6.0)
    assert taken(budget, 6.0 + SECONDS, 1000) == 0, "what was put in is good for ten seconds"


def test_nothing_at_all() -> None:
    budget = RetryBudget(0.0, 0.0)
    budget.deposit(1.0)
    assert taken(budget, 1.0, 10) == 0


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 40), st.integers(0, 40)), max_size=60),
    st.sampled_from([0.0, 0.1, 0.2, 1.0]),
    st.sampled_from([0.0, 1.0, 10.0]),
)
def test_any_ten_seconds(steps: list[tuple[float, int, int]], ratio: float, floor: float) -> None:
    """Whenever there is a retry, the ten seconds up to it have no more than floor and requests pay for."""
    budget = RetryBudget(ratio, floor)
    now = 100.0
    history: list[tuple[int, int, int]] = []
    for wait, requests, wanted in steps:
        now += wait
        for _ in range(requests):
            budget.deposit(now)
        history.append((int(now), requests, taken(budget, now, wanted)))
        if not history[-1][2]:
            continue
        window = [entry for entry in history if entry[0] > int(now) - SECONDS]
        assert sum(entry[2] for entry in window) <= floor * SECONDS + ratio * sum(entry[1] for entry in window) + 1e-6
