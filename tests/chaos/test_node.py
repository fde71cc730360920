"""What is said of calls between Python and the example in Node is true, whatever ends the container."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from .node import PAIRS, WIDTH, Told, compared, truth

if TYPE_CHECKING:
    from pathlib import Path

CALLS = 600


@pytest.mark.parametrize("pair", PAIRS)
async def test_what_is_said_of_each_call_is_true(pair: str, tmp_path: Path, node_example: Path) -> None:
    found = await truth(pair, CALLS, tmp_path, node_example)
    assert not found.untruthful
    assert found.drained == 0
    assert found.told["answered"] >= CALLS - 2 * WIDTH, "more ended than were under way at the kill and at the drain"
    assert found.told["UNKNOWN"] + found.told["YES"], "the kill came when nothing ran"


@pytest.mark.parametrize(
    ("told", "ran", "text"),
    [
        ([], [], "call 0 ended 0 times"),
        ([Told(0, "answered", "YES"), Told(0, "answered", "YES")], [0], "call 0 ended 2 times"),
        ([Told(0, "answered", "YES")], [0, 0], "call 0 ran 2 times"),
        ([Told(0, "failed", "NO")], [0], "call 0 ran, and NO was told"),
        ([Told(0, "failed", "YES")], [], "call 0 did not run, and YES was told"),
        ([Told(0, "wrong", "YES")], [0], "call 0 ended as wrong"),
        ([Told(0, "TypeError", "UNKNOWN")], [0], "call 0 ended as TypeError"),
    ],
)
def test_what_is_not_true_is_found(told: list[Told], ran: list[int], text: str) -> None:
    assert compared(1, told, Counter(ran)) == [text]


@pytest.mark.parametrize("ran", [[], [0]])
def test_unknown_may_be_either(ran: list[int]) -> None:
    assert compared(1, [Told(0, "failed", "UNKNOWN")], Counter(ran)) == []
