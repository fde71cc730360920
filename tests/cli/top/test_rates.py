"""What two snapshots say of the time between them."""

from __future__ import annotations

import math
import uuid

import pytest

from mpzmq import FunctionStatistics
from mpzmq.cli.top.rates import Figures, Sample, by_function, total

ONE, OTHER = uuid.uuid4(), uuid.uuid4()


def sample(at: float, instance: uuid.UUID = ONE, **functions: FunctionStatistics) -> Sample:
    return Sample(at, instance, functions)


def test_what_came_and_what_failed_in_a_second() -> None:
    before = sample(10.0, add=FunctionStatistics(replied=5, failed=1, running=2))
    now = sample(
        12.0,
        add=FunctionStatistics(replied=11, failed=2, refused=3, cancelled=1, running=1, queued=4, p50=0.1, p99=0.2),
        new=FunctionStatistics(replied=4),
    )
    assert by_function(now, before) == {
        "add": Figures(in_flight=5, requests=7.0, errors=2.0, p50=0.1, p99=0.2),
        "new": Figures(in_flight=0, requests=2.0, errors=0.0, p50=None, p99=None),
    }
    assert by_function(now, None)["add"] == Figures(5, None, None, 0.1, 0.2), "one snapshot says nothing of a second"
    assert by_function(now, sample(12.0))["add"].requests is None, "nor do two of one moment"


@pytest.mark.parametrize(("instance", "requests"), [(OTHER, 8.0), (ONE, 3.0)], ids=["restarted", "the same"])
def test_another_process_counts_from_0(instance: uuid.UUID, requests: float) -> None:
    before, now = FunctionStatistics(replied=10), FunctionStatistics(replied=16)
    found = by_function(sample(3.0, instance, add=now), sample(1.0, add=before))["add"]
    assert found.requests == requests


def test_a_counter_that_fell_is_not_negative() -> None:
    before, now = FunctionStatistics(replied=100, failed=50), FunctionStatistics(replied=4, failed=2)
    found = by_function(sample(3.0, add=now), sample(1.0, add=before))["add"]
    assert (found.requests, found.errors) == (3.0, 1.0)


def test_the_container_is_the_sum_of_what_it_works_on() -> None:
    functions = {
        "add": Figures(1, 2.0, 0.5, 0.1, 0.2),
        "nap": Figures(2, None, None, 0.3, None),
        "stats": Figures(9, 9.0, 9.0, 9.0, 9.0),
    }
    assert total(functions, rated=True) == Figures(3, 2.0, 0.5, 0.3, 0.2)
    assert total(functions, rated=False) == Figures(3, None, None, 0.3, 0.2)
    assert total({}, rated=True) == Figures(0, 0, 0, None, None)


def test_what_is_no_number_is_not_shown() -> None:
    odd = FunctionStatistics(replied=math.nan, failed=math.inf, running=math.nan, p50=math.nan, p99=math.inf)  # type: ignore[arg-type]
    found = by_function(sample(2.0, add=odd), sample(1.0))["add"]
    assert found == Figures(0, None, None, None, None)
