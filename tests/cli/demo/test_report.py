"""The demo's books: percentiles, sums, and the faults that it looks for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from mpzmq import Executed, Statistics
from mpzmq.cli.demo.report import Book, percentile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7], 0.5, 7),
        ([7], 0.99, 7),
        ([1, 2], 0.5, 1),
        ([1, 2, 3], 0.5, 2),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 1001)), 0.99, 990),
    ],
)
def test_percentile(values: list[int], share: float, expected: int | None) -> None:
    assert percentile(values, share) == expected


def book() -> Book:
    failures = Counter({("NotConnected", Executed.NO): 2, ("ConnectionLost", Executed.UNKNOWN): 1})
    return Book("one", 10, 6, 1, 1, failures, [30, 10, 20])


def test_a_sound_book_has_no_fault() -> None:
    assert book().fault(Statistics(issued=10, replied=6, failed=3, cancelled=1)) is None


def test_a_request_without_an_end_is_a_fault() -> None:
    one = book()
    one.requests += 1
    fault = one.fault(Statistics(issued=11, replied=6, failed=3, cancelled=1, in_flight=1))
    assert fault is not None
    assert fault.startswith("one: 1 requests have no end")


@pytest.mark.parametrize("counter", ["issued", "replied", "failed", "cancelled", "in_flight"])
def test_another_count_of_the_library_is_a_fault(counter: str) -> None:
    counted: dict[str, Any] = {"issued": 10, "replied": 6, "failed": 3, "cancelled": 1, "in_flight": 0}
    counted[counter] += 1
    fault = book().fault(Statistics(**counted))
    assert fault is not None
    assert "the library counted" in fault


def test_the_sum_of_books() -> None:
    total = sum([book(), book()], Book("total"))
    assert (total.name, total.requests, total.answered, total.failed, total.cancelled) == ("total", 20, 12, 6, 2)
    assert total.percentiles() == (20, 30)
    assert total.in_flight == 0
    assert total.as_json()["failures"][0] == {"error": "NotConnected", "executed": "NO", "count": 4}


def test_the_latest_percentiles() -> None:
    assert book().percentiles(latest=1) == (20, 20)
