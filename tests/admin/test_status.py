"""JSON in pieces."""

from __future__ import annotations

import json

from mpzmq import Durations, Statistics
from mpzmq.admin.status import counters, json_pieces


def test_pieces_are_the_whole_in_the_end() -> None:
    calls: list[str] = []

    def late() -> dict[str, list[str]]:
        return {"late": list(calls)}

    def items() -> object:
        for name in "abc":
            calls.append(name)
            yield {"name": name, "members": ({"n": n} for n in (1, 2))}

    document = {"first": [1, None, {"a": "ü"}], "items": items(), "none": (n for n in range(0)), "totals": late}
    pieces = list(json_pieces(document))
    members = [{"n": 1}, {"n": 2}]
    assert json.loads("".join(pieces)) == {
        "first": [1, None, {"a": "ü"}],
        "items": [{"name": name, "members": members} for name in "abc"],
        "none": [],
        "totals": {"late": ["a", "b", "c"]},
    }
    assert max(map(len, pieces)) < 40


def test_what_has_no_parts_is_one_piece() -> None:
    assert list(json_pieces({"a": {"b": [1, 2]}})) == ['{"a":{"b":[1,2]}}']


def test_counters_are_numbers_and_errors() -> None:
    told = counters(Statistics(issued=3, errors={"RemoteError": 1}, rtt=None, durations=Durations(((1.0, 2),), 0.5)))
    assert told["issued"] == 3 and told["errors"] == {"RemoteError": 1} and told["rtt"] is None
    assert "durations" not in told
    json.dumps(told)
