"""A checker that cannot fail checks nothing: made-up histories, good and bad."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq.statistics import Statistics

from .history import (
    ContainerHistory,
    ContainerLog,
    Counters,
    EngineLog,
    Request,
    Run,
    Stall,
    check,
    check_counters,
    check_memory,
    check_worker,
    read_container,
    read_engine,
)

if TYPE_CHECKING:
    from pathlib import Path

    from .history import Violation


def kinds(found: list[Violation]) -> list[str]:
    return [violation.kind for violation in found]


def asked(**facts: object) -> Request:
    """A request that was answered after 0.1 s."""
    plain = {"id": "a", "function": "quick", "timeout": 1.0, "issued": 10.0, "ended": 10.1, "outcome": "replied"}
    return Request(**{**plain, **facts})  # type: ignore[arg-type]


def failed(executed: str | None, error: str = "ConnectionLost", **facts: object) -> Request:
    return asked(outcome="failed", executed=executed, error=error, **facts)


def ran(id_: str = "a", instance: str = "one", how: str | None = "returned") -> Run:
    return Run(id_, instance, "quick", 10.05, how, None if how is None else 10.06)


GOOD = {
    "answered": (asked(), [ran()]),
    "answered, in the second instance too": (asked(idempotent=True), [ran(), ran(instance="two")]),
    "cancelled and run": (asked(outcome="cancelled"), [ran(how="cancelled")]),
    "cancelled and not run": (asked(outcome="cancelled"), []),
    "unknown and run": (failed("UNKNOWN"), [ran()]),
    "unknown and not run": (failed("UNKNOWN"), []),
    "NO and not run": (failed("NO", "NotConnected"), []),
    "YES and run": (failed("YES"), [ran(how=None)]),
    "raised": (failed("YES", "RemoteError"), [ran(how="raised")]),
    "without a deadline": (asked(timeout=None, ended=500.0), [ran()]),
    "a little late": (failed("UNKNOWN", "RequestTimeout", ended=11.2), []),
    "a flipped answer": (asked(right=False, tainted=True), []),
    "one whose number was flipped": (asked(tainted=True), [ran(), ran()]),
}

BAD = {
    "never ended": (asked(ended=None, outcome=None), []),
    "ended after its deadline": (failed("UNKNOWN", "RequestTimeout", ended=12.1), []),
    "ran twice in one instance": (asked(idempotent=True), [ran(), ran()]),
    "ran in two instances without being idempotent": (failed("UNKNOWN"), [ran(), ran(instance="two")]),
    "acknowledged but not executed": (asked(), []),
    "another answer than the function's": (asked(right=False), [ran()]),
    "NO, but it ran": (failed("NO", "NotConnected"), [ran()]),
    "YES, but it never ran": (failed("YES"), []),
    "ran before it was issued": (failed("YES", issued=10.055), [ran()]),
    "a handler's error without a handler": (failed("YES", "RemoteError"), [ran(how="returned")]),
    "an error that is no RequestError": (failed(None, "KeyError"), []),
}


@pytest.mark.parametrize("case", GOOD)
def test_a_good_history(case: str) -> None:
    request, runs = GOOD[case]
    assert check([request], runs) == []


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_history(kind: str) -> None:
    request, runs = BAD[kind]
    assert kinds(check([request], runs)) == [kind]


def test_more_bad_histories() -> None:
    assert kinds(check([asked()], [ran(how=None)])) == ["acknowledged but not executed"]
    assert kinds(check([asked()], [ran(how="cancelled")])) == ["acknowledged but not executed"]
    assert kinds(check([asked(outcome="cancelled")], [ran(), ran()])) == ["ran twice in one instance"]
    assert kinds(check([asked(tainted=True, ended=None)], [])) == ["never ended"]
    assert kinds(check([asked(ended=10.055)], [ran()])) == ["acknowledged but not executed"]  # not yet
    assert kinds(check([failed("YES", ended=10.01)], [ran()])) == ["YES, but it never ran"]
    assert kinds(check([failed("NO", "RemoteError")], [ran(how="raised")])) == ["NO, but it ran"]
    both = check([failed("NO")], [ran(), ran()])
    assert kinds(both) == ["ran twice in one instance", "NO, but it ran"]
    assert "'a'" in both[0].text


def test_a_late_end_is_excused_by_a_loop_that_stood_still_then_and_only_then() -> None:
    late = failed("UNKNOWN", "RequestTimeout", ended=12.5)  # 1.5 s behind its deadline
    assert check([late], [], stalls=[Stall(10.5, 0.6)]) == []
    assert check([late], [], stalls=[Stall(11.2, 0.3), Stall(12.2, 0.4)]) == []
    for stalls in ([Stall(9.0, 1.9)], [Stall(12.6, 5.0)], [Stall(11.5, 0.4)]):
        assert kinds(check([late], [], stalls=stalls)) == ["ended after its deadline"]


def test_a_run_in_an_instance_that_has_a_successor() -> None:
    requests = [asked(id=name) for name in "abc"]
    runs = [ran("a"), ran("b", "two"), ran("c", "two")]
    assert check(requests, runs) == []
    runs[2].instance = "one"
    (found,) = check(requests, runs)
    assert found.kind == "ran in an instance that was over"
    assert "'c'" in found.text


def test_a_run_that_nobody_asked_for() -> None:
    assert kinds(check([asked()], [ran(), ran("b")])) == ["ran for nobody"]
    assert check([asked()], [ran(), ran("b")], strangers=True) == []


def counted(**facts: Any) -> Counters:
    return Counters("one", **{**dict.fromkeys(["replied", "failed", "refused", "cancelled", "in_flight"], 0), **facts})


def test_counters_of_a_container() -> None:
    good = [counted(received=3, replied=1, in_flight=2), counted(received=3, replied=2, cancelled=1, final=True)]
    assert check_counters(ContainerHistory([ran(), ran("b")], good)) == []
    assert kinds(check_counters(ContainerHistory([], [counted(received=3, replied=1, in_flight=1)]))) == [
        "a container's counters do not add up"
    ]
    last = counted(received=1, replied=1, final=True)
    assert kinds(check_counters(ContainerHistory([ran(), ran("b")], [last]))) == ["more runs than requests received"]


def test_counters_of_a_worker() -> None:
    unknown = [failed("NO", "NotConnected")]
    assert check_worker(Statistics(), unknown) == check_worker(Statistics(issued=1, failed=1), unknown) == []
    requests = [asked(), failed("NO", "Overloaded"), asked(outcome="cancelled")]
    assert check_worker(Statistics(issued=3, replied=1, failed=1, cancelled=1), requests) == []
    assert check_worker(Statistics(issued=3, replied=2, failed=1), requests) == []
    for bad, kind in (
        (Statistics(issued=3, replied=1, failed=1), "a worker's counters do not add up"),
        (Statistics(issued=3, replied=1, failed=1, in_flight=1), "in flight after the end"),
        (Statistics(issued=4, replied=2, failed=1, cancelled=1), "a worker's counters are not what its callers saw"),
        (Statistics(issued=3, failed=2, cancelled=1), "a worker's counters are not what its callers saw"),
        (Statistics(issued=3, replied=2, cancelled=1), "a worker's counters are not what its callers saw"),
    ):
        assert kinds(check_worker(bad, requests)) == [kind]


def test_memory() -> None:
    mebibyte = 1 << 20
    assert check_memory([100 * mebibyte] * 11, whose="x") == []
    assert check_memory([(100 + sample % 20) * mebibyte for sample in range(60)], whose="x") == []
    growing = check_memory([(100 + 2 * sample) * mebibyte for sample in range(60)], whose="engine")
    assert kinds(growing) == ["memory grows"]
    assert "engine" in growing[0].text


def test_memory_of_who_is_warm() -> None:
    mebibyte = 1 << 20
    warming = [(90 + sample // 3) * mebibyte for sample in range(60)]
    flat = [(110 + sample % 4) * mebibyte for sample in range(60)]
    assert check_memory([*warming, *flat], whose="x", warm=60) == []
    creeping = [(110 + sample // 3) * mebibyte for sample in range(60)]
    assert check_memory([*warming, *creeping], whose="x") == []
    assert kinds(check_memory([*warming, *creeping], whose="x", warm=60)) == ["memory grows"]
    assert check_memory(warming, whose="x", warm=60) == []


def test_an_odd_answer_may_be_what_a_handler_has_returned() -> None:
    odd = asked(function="odd", outcome="failed", error="RemoteError", executed="YES")
    assert check([odd], [Run("a", "one", "odd", 10.05, "returned", 10.06)]) == []
    other = asked(outcome="failed", error="RemoteError", executed="YES")
    assert kinds(check([other], [ran()])) == ["a handler's error without a handler"]


def test_both_pens(tmp_path: Path) -> None:
    path = tmp_path / "container"
    log, instance, request_id = ContainerLog(str(path)), uuid.uuid4(), uuid.uuid4()
    with log.run(request_id, instance, "quick"), pytest.raises(ValueError), log.run(request_id, instance, "raising"):
        raise ValueError
    log.write(what="counters", **{name: getattr(counted(received=1), name) for name in Counters.__slots__})
    log.write(what="start", run=9, pid=os.getpid(), id="b", instance="two", function="slow", at=1.0)
    log.close()
    history = read_container(path)
    assert [(run.id, run.function, run.how) for run in history.runs] == [
        (request_id.hex, "quick", "returned"),
        (request_id.hex, "raising", "raised"),
        ("b", "slow", None),
    ]
    assert history.counters == [counted(received=1)]

    engine = EngineLog(tmp_path / "engine")
    ended, open_ = asked(), asked(ended=None, outcome=None)
    for request in (ended, open_):
        engine.issued(request)
    engine.ended(ended)
    engine.close()
    engine.ended(open_)  # too late
    assert read_engine(tmp_path / "engine") == [ended, open_]
