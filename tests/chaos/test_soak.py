"""A short soak: ``python -m tests.chaos --minutes 10`` is the long one. Then its books are falsified."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from mpzmq import HeartbeatPolicy
from tests.support.waiting import scaled

from .history import check, described
from .lies import LIES, falsify
from .soak import Plan, Soak

if TYPE_CHECKING:
    from pathlib import Path

HEARTBEAT = HeartbeatPolicy(interval=scaled(0.4), down_after=scaled(1.0))


@pytest.mark.long
async def test_a_short_soak(tmp_path: Path) -> None:
    outcome = await Soak(
        Plan(seconds=8.0, seed=20, folder=tmp_path, callers=30, gaps=(0.1, 0.8), heartbeat=HEARTBEAT)
    ).run()
    assert not outcome.violations, described(outcome.violations)
    # It would be no soak if nothing had happened.
    assert outcome.faults.total() >= 5
    assert outcome.requests["replied"] > 100
    assert outcome.flips >= 5

    # The same checker finds each lie in these books, which are true.
    for requests, runs in outcome.books:
        for number, lie in enumerate(10 * [*LIES]):
            (falsified, others), name = falsify(lie, requests, runs, Random(number))
            found = check(falsified, others, stalls=outcome.stalls)
            assert any(violation.kind == LIES[lie].kind and name in violation.text for violation in found), lie
