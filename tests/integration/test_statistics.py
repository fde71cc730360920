"""Counters by function on the container, by error on the engine, and the container's told to whoever asks."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ContainerServer,
    Durations,
    FunctionStatistics,
    InvalidArguments,
    Refused,
    RemoteError,
    RequestTimeout,
    ServerStatistics,
    Statistics,
    Status,
    Unsupported,
)
from mpzmq.common.timings import Timings, checked_buckets
from mpzmq.engine.container_reports import server_statistics
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Stage:
    """A container whose functions end in every way, and an engine."""

    def __init__(self) -> None:
        self.server = ContainerServer()
        self.released = asyncio.Event()
        self.entered = 0
        for function in (self.plain, self.slow, self.fails, self.refuses, self.items):
            self.server.function(function)
        self.server.function(self.one_at_a_time, max_concurrency=1)
        self.server.function(self.threaded, thread=True)
        self.server.on_invoke(self.plain)
        self.container: ComputerEngineWriter

    def plain(self, value: object = None) -> object:
        return value

    async def slow(self) -> None:
        self.entered += 1
        await self.released.wait()

    async def one_at_a_time(self) -> None:
        await self.slow()

    def threaded(self) -> str:
        return "done"

    def fails(self) -> None:
        raise ZeroDivisionError

    def refuses(self) -> None:
        raise Refused("not today")

    async def items(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    def of(self, name: str) -> FunctionStatistics:
        """The counters of one function."""
        return self.server.statistics().functions[name]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    one = Stage()
    async with one.server, ComputerEngineWorker() as worker:
        container = await worker.connect(await one.server.bind("127.0.0.1:0"))
        one.container = container
        yield one
        one.released.set()
    adds_up(one.server.statistics())


def adds_up(counted: ServerStatistics) -> None:
    """By function they are the same as in all."""
    functions = counted.functions.values()
    for name in ("replied", "failed", "refused", "cancelled"):
        assert sum(getattr(one, name) for one in functions) == getattr(counted, name)
    assert (
        counted.received == counted.replied + counted.failed + counted.refused + counted.cancelled + counted.in_flight
    )


async def test_each_end_counts_for_its_function(stage: Stage) -> None:
    call = stage.container.call
    assert await call("plain", 1) == 1
    assert await call("threaded") == "done"
    assert await stage.container.request(2) == 2
    with pytest.raises(RemoteError):
        await call("fails")
    with pytest.raises(Refused):
        await call("refuses")
    with pytest.raises(InvalidArguments):
        await call("plain", 1, 2, 3)
    for name in ("no", "nor this"):
        with pytest.raises(Unsupported):
            await call(name)
    with pytest.raises(RequestTimeout):
        await call("slow", timeout=0.05)
    async with stage.container.stream("items", 3) as items:
        assert [item async for item in items] == [0, 1, 2]
    await stage.container.get_state()
    await until(lambda: stage.of("slow").cancelled == 1)
    counted = stage.server.statistics()
    adds_up(counted)
    ends = {
        name: (one.replied, one.failed, one.refused, one.rejected, one.cancelled)
        for name, one in counted.functions.items()
    }
    assert ends == {
        "plain": (1, 0, 1, 1, 0),
        "threaded": (1, 0, 0, 0, 0),
        "data:invoke": (1, 0, 0, 0, 0),
        "fails": (0, 1, 0, 0, 0),
        "refuses": (0, 0, 1, 0, 0),
        "(unknown)": (0, 0, 2, 2, 0),
        "slow": (0, 0, 0, 0, 1),
        "items": (1, 0, 0, 0, 0),
        "state:get": (1, 0, 0, 0, 0),
    }
    assert counted.functions["slow"].seconds > counted.functions["plain"].seconds > 0
    for name in ("plain", "threaded", "fails", "slow"):
        one = counted.functions[name]
        assert one.p50 is not None and one.p99 is not None and 0 < one.p50 <= one.p99 <= one.seconds
    assert counted.functions["(unknown)"].p50 is None


async def test_what_runs_and_what_waits(stage: Stage) -> None:
    calls = [asyncio.ensure_future(stage.container.call("one_at_a_time")) for _ in range(3)]
    await until(lambda: stage.entered == 1 and stage.of("one_at_a_time").queued == 2)
    assert stage.of("one_at_a_time").running == 1
    adds_up(stage.server.statistics())
    stage.released.set()
    await soon(asyncio.gather(*calls))
    one = stage.of("one_at_a_time")
    assert (one.running, one.queued, one.replied) == (0, 0, 3)
    assert one.waiting_seconds > 0


async def test_what_is_cancelled_behind_its_request_in_one_burst(stage: Stage) -> None:
    asked = asyncio.ensure_future(stage.container.call("plain"))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await stage.container.get_state()
    adds_up(stage.server.statistics())


async def test_a_container_tells_its_counters(stage: Stage) -> None:
    await stage.container.call("plain")
    await stage.container.set_state(Status.STOP)
    told = await stage.container.get_statistics()
    assert isinstance(told, ServerStatistics)
    assert (told.functions["plain"].replied, told.functions["state:set"].replied, told.sessions) == (1, 1, 1)
    assert told.functions["plain"].durations is None
    assert "stats" not in told.functions, "it has not ended when it tells"
    assert (await stage.container.get_statistics()).functions["stats"].replied == 1


async def test_the_engine_counts_errors_and_bytes(stage: Stage) -> None:
    before = stage.container.statistics()
    assert await stage.container.call("plain", bytes(1000)) == bytes(1000)
    for name in ("fails", "fails", "no"):
        with pytest.raises((RemoteError, Unsupported)):
            await stage.container.call(name)
    counted = stage.container.statistics()
    assert counted.errors == {"RemoteError": 2, "Unsupported": 1} and counted.failed == 3
    assert counted.sent_bytes - before.sent_bytes > 1000 and counted.received_bytes - before.received_bytes > 1000
    assert counted.p50 is not None and counted.p50 <= counted.seconds
    total = counted + Statistics(errors={"Unsupported": 2}, sent_bytes=1, p99=math.inf)
    assert total.errors == {"RemoteError": 2, "Unsupported": 3} and total.sent_bytes == counted.sent_bytes + 1
    assert total.p99 == math.inf and total.p50 == counted.p50


def test_timings() -> None:
    times = Timings()
    assert times.quantiles() == {"p50": None, "p99": None} and times.durations() is None
    for number in range(1000):
        times.add(number / 1000)
    assert times.quantiles() == {"p50": 0.872, "p99": 0.997}, "of the last 256"
    times.keep((0.1, 0.5))
    for seconds in (0.1, 0.2, 3.0):
        times.add(seconds)
    found = times.durations()
    assert found is not None and found.buckets == ((0.1, 1), (0.5, 2), (math.inf, 3)) and found.count == 3
    assert found.seconds == pytest.approx(3.3)
    times.keep((0.1, 0.5))
    with pytest.raises(ValueError, match="other buckets"):
        times.keep((0.2,))
    both = found + found
    assert both.buckets == ((0.1, 2), (0.5, 4), (math.inf, 6)) and both.seconds == pytest.approx(6.6)
    with pytest.raises(ValueError, match="different buckets"):
        found + Durations(((1.0, 5), (math.inf, 5)), 2.0)


@pytest.mark.parametrize("kind", [FunctionStatistics, Statistics])
def test_every_counter_is_in_a_sum(kind: Any) -> None:
    """Quantiles and round trips cannot be added up: the slowest counts."""
    seconds = Durations(((1.0, 1), (math.inf, 1)), 0.5)
    given: dict[str, Any] = {field.name: 1 for field in dataclasses.fields(kind)} | {"durations": seconds}
    wanted: dict[str, Any] = dict.fromkeys(given, 2) | {"p50": 1, "p99": 1, "durations": seconds + seconds}
    if kind is Statistics:
        given["errors"], wanted["errors"], wanted["rtt"] = {"Refused": 1}, {"Refused": 2}, 1
    assert kind(**given) + kind(**given) == kind(**wanted)


@pytest.mark.parametrize("odd", [[], [0], [-1, 1], [1, 1], [2, 1], [math.inf], [math.nan], [1, math.nan, 3]])
def test_odd_buckets(odd: list[float]) -> None:
    with pytest.raises(ValueError, match="buckets are"):
        checked_buckets(odd)


async def test_functions_that_are_named_like_what_is_none(stage: Stage) -> None:
    """They are counted together with it, and the sums are right."""
    words = ("(unknown)", "data:invoke", "state:get", "stats")
    for word in words:
        stage.server.function(stage.plain, name=word)
        await stage.container.call(word)
    for unknown in ("one", "other"):
        with pytest.raises(Unsupported):
            await stage.container.call(unknown)
    await stage.container.request(1)
    await stage.container.get_state()
    await stage.container.get_statistics()
    found = stage.server.statistics()
    assert found.received == 9
    assert {word: (found.functions[word].replied, found.functions[word].refused) for word in words} == {
        "(unknown)": (1, 2), "data:invoke": (2, 0), "state:get": (2, 0), "stats": (2, 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"functions": {1: {}}},
        {"functions": {"x" * 257: {}}},
        {"functions": {"add": None}},
        {"functions": {}, "received": -1},
        {"functions": {}, "received": 1.5},
        {"functions": {}, "received": math.nan},
        {"functions": {}, "received": True},
        {"functions": {}, "received": None},
        {"functions": {"add": {"p50": math.inf}}},
        {"functions": {"add": {"seconds": "1"}}},
        {"functions": {"add": {"durations": {"buckets": [], "seconds": 1}}}},
        {"functions": {"add": {"durations": {"buckets": [[1, 1]], "seconds": 1}}}},
        {"functions": {"add": {"durations": {"buckets": [[1, math.inf], [None, 1]], "seconds": 1}}}},
        {"functions": {"add": {"durations": {"buckets": [[1, 2], [None, 1]], "seconds": 1}}}},
        {"functions": {"add": {"durations": {"buckets": [[b"1", 1], [None, 1]], "seconds": 1}}}},
        {"functions": {"add": {"durations": {"buckets": [[2, 1], [1, 1], [None, 1]], "seconds": 1}}}},
        {"functions": {"add": {"durations": {"buckets": [[1, 1], [None, 1]], "seconds": math.nan}}}},
    ],
)
def test_what_is_no_statistics_is_refused(data: object) -> None:
    """Nothing comes through that cannot be added up, or written as JSON or as a table."""
    with pytest.raises((TypeError, KeyError, ValueError, AttributeError)):
        server_statistics([None, None, data])


def test_what_is_not_known_yet_is_left_out() -> None:
    told = {"functions": {"add": {"replied": 1, "seconds": 2, "p50": None, "later": []}}, "more": "?"}
    assert server_statistics([None, None, told]) == ServerStatistics(
        functions={"add": FunctionStatistics(replied=1, seconds=2.0)}
    )
