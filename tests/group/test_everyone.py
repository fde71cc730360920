"""All members at the same time, and many jobs for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ConnectionClosed, Executed, GroupPolicy, LinkState, NotConnected, RemoteError, RequestTimeout
from tests.support.waiting import scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.group.conftest import Stage, Troupe


async def test_call_all(troupe: Troupe) -> None:
    outcomes = await troupe.group.call_all("who", "x")
    assert outcomes.results == {"a": "a", "b": "b", "c": "c"} and outcomes.errors == {}
    assert outcomes.check() is outcomes
    assert troupe.ran == {"x": 3}


async def test_some_fail(troupe: Troupe) -> None:
    server = troupe["b"].server

    @server.function
    def only_b() -> str:
        return "done"

    await troupe["c"].server.close()
    await until(lambda: troupe.group.handle("c").state is LinkState.DOWN)
    outcomes = await soon(troupe.group.call_all("only_b"))
    assert outcomes.results == {"b": "done"}
    assert list(outcomes.errors) == ["a", "c"]
    assert isinstance(outcomes.errors["c"], NotConnected), "nobody waits for a member that is down"
    with pytest.raises(ExceptionGroup, match="2 of 3 members failed: a, c") as caught:
        outcomes.check()
    assert caught.value.exceptions == tuple(outcomes.errors.values())


async def test_one_timeout_for_all(troupe: Troupe) -> None:
    troupe["b"].gate.set()
    outcomes = await troupe.group.call_all("wait", "x", timeout=scaled(1.0))
    assert outcomes.results == {"b": "b"}
    assert all(isinstance(error, RequestTimeout) for error in outcomes.errors.values())
    assert list(outcomes.errors) == ["a", "c"]


async def test_call_each(troupe: Troupe) -> None:
    outcomes = await troupe.group.call_each("who", {"c": ["x"], "a": ("y",)})
    assert list(outcomes.results) == ["a", "c"]
    assert (troupe["a"].ran, troupe["b"].ran, troupe["c"].ran) == (["y"], [], ["x"])
    with pytest.raises(KeyError, match="no member 'z'"):
        await troupe.group.call_each("who", {"a": [1], "z": [1]})
    with pytest.raises(TypeError, match="list or tuple"):
        await troupe.group.call_each("who", {"a": "text"})
    assert troupe.ran.total() == 2


async def test_each_as_it_comes(troupe: Troupe) -> None:
    async with troupe.group.each("wait", "x") as outcomes:
        await until(lambda: troupe.ran["x"] == 3)
        troupe["b"].gate.set()
        first = await anext(outcomes)
        assert (first.member.name, first.result, first.error) == ("b", "b", None)
        troupe["c"].gate.set()
        assert (await anext(outcomes)).member.name == "c"
    await until(lambda: troupe["a"].cancelled)
    assert troupe.group.statistics().cancelled == 1
    async with troupe.group.each("fail", "y") as outcomes:
        assert {type(outcome.error) async for outcome in outcomes} == {RemoteError}


async def test_all_of_a_view(stage: Stage) -> None:
    labels = {"a": {"gpu": "1"}, "b": {"gpu": "1"}, "c": {"gpu": "0"}}
    async with stage(labels=labels) as troupe:
        view = troupe.group.where(gpu="1")
        assert [member.name for member in view.members] == ["a", "b"]
        assert set((await view.call_all("who")).results) == {"a", "b"}
        assert {await view.call("who") for _ in range(30)} == {"a", "b"}
        assert view.where(gpu="0").members[0].name == "c"
        with pytest.raises(NotConnected):
            await view.where(zone="x").call("who", wait=False)
        troupe.members.remove("a")
        await until(lambda: len(view.members) == 1)
        assert {await view.call("who") for _ in range(5)} == {"b"}
        with pytest.raises(KeyError):
            view.handle("c")


@pytest.mark.parametrize("ordered", [True, False])
async def test_map(troupe: Troupe, ordered: bool) -> None:
    async with troupe.group.map("who", range(200), ordered=ordered) as results:
        names = [name async for name in results]
    assert len(names) == 200 and set(names) == {"a", "b", "c"}
    assert troupe.ran == dict.fromkeys(range(200), 1)


async def test_results_in_order(troupe: Troupe) -> None:
    async def items() -> AsyncIterator[list[Any]]:
        for number in range(20):
            yield [number]

    async with troupe.group.map("who", items()) as results:
        assert len([result async for result in results]) == 20
    server_side = [word for actor in troupe.actors.values() for word in actor.ran]
    assert sorted(server_side) == [[number] for number in range(20)]


async def test_they_come_as_they_end(stage: Stage) -> None:
    async with stage("ab", policy=GroupPolicy(pick="rotation")) as troupe:
        troupe["b"].gate.set()
        async with troupe.group.map("wait", range(4), ordered=False) as results:
            assert [await anext(results), await anext(results)] == ["b", "b"]
            troupe["a"].gate.set()
            assert [result async for result in results] == ["a", "a"]


@pytest.mark.parametrize(("concurrency", "most"), [(3, 3), (None, 4)])
async def test_so_many_at_the_same_time(stage: Stage, concurrency: int | None, most: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    async with stage("ab", policy=GroupPolicy(max_in_flight=2)) as troupe:
        mapped = troupe.group.map("wait", items(), concurrency=concurrency)
        async with mapped as results:
            reading: asyncio.Task[str] = asyncio.create_task(anext(results))  # type: ignore[arg-type]
            await until(lambda: troupe.ran.total() == most)
            assert sum(member.in_flight for member in troupe.group.members) == most
            assert len(taken) <= most + 1, "no more is taken than can be worked on"
            for name in "ab":
                troupe[name].gate.set()
            assert await soon(reading) in "ab"
            assert len([result async for result in results]) == 49
    assert troupe.ran == dict.fromkeys(range(50), 1)


async def test_time_counts_from_when_an_item_is_sent(stage: Stage) -> None:
    """Gathered, four fifths of such calls are too late before a handler has begun."""
    async with stage("ab", max_concurrency=2) as troupe:
        mapped = troupe.group.map("doze", [0.05] * 80, timeout=scaled(1.0))
        async with mapped as results:
            assert len([result async for result in results]) == 80


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_first_error_is_raised(troupe: Troupe, ordered: bool) -> None:
    with pytest.raises(RemoteError):
        async with troupe.group.map("fail", range(100), ordered=ordered) as results:
            async for _ in results:
                raise AssertionError
    assert troupe.ran.total() < 100


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_error_keeps_nothing(troupe: Troupe, ordered: bool) -> None:
    """Neither what was asked, nor the errors of others, which nobody has looked at."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def fail() -> weakref.ref[Any]:
        word = array("q", [1])
        kept = weakref.ref(word)
        with contextlib.suppress(RemoteError):
            async with troupe.group.map("fail", [word] * 3, ordered=ordered) as results:
                await anext(results)
        return kept

    gc.collect()
    gc.disable()
    try:
        kept = await fail()
        await asyncio.sleep(0)  # the callbacks of the tasks are done
        assert kept() is None and complaints == []
    finally:
        gc.enable()


async def test_errors_are_results(troupe: Troupe) -> None:
    async with troupe.group.map("fail", ["x"] * 5, return_exceptions=True) as results:
        assert [type(result) async for result in results] == [RemoteError] * 5


@pytest.mark.parametrize("ordered", [True, False])
async def test_items_that_fail(troupe: Troupe, ordered: bool) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk")

    got = []
    with pytest.raises(OSError, match="the disk"):
        async with troupe.group.map("who", items(), ordered=ordered) as results:
            while True:
                got.append(await anext(results))
    assert len(got) == 2, "what came before it comes first"


@pytest.mark.parametrize("ordered", [True, False])
async def test_items_that_cannot_be_closed(troupe: Troupe, ordered: bool) -> None:
    class Items:
        count = 0

        def __aiter__(self) -> Items:
            return self

        async def __anext__(self) -> int:
            self.count += 1
            if self.count > 2:
                raise StopAsyncIteration
            return self.count

        async def aclose(self) -> None:
            raise OSError("the disk")

    got = []
    with pytest.raises(OSError, match="the disk"):
        async with troupe.group.map("who", Items(), ordered=ordered) as results:
            while True:
                got.append(await soon(anext(results)))
    assert len(got) == 2


async def test_nothing_to_do(troupe: Troupe) -> None:
    for ordered in (True, False):
        async with troupe.group.map("who", [], ordered=ordered) as results:
            assert [result async for result in results] == []
    for nothing in ("text", 5, {"a": 1}):
        with pytest.raises(TypeError, match="the items are an async iterable, or a plain one, and not"):
            troupe.group.map("who", nothing)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="concurrency must be 1 or more, not 0"):
        troupe.group.map("who", [1], concurrency=0)


@pytest.mark.parametrize("count", [1.5, float("nan"), True, "2"])
async def test_a_number_of_calls_or_members_is_an_int(troupe: Troupe, count: Any) -> None:
    with pytest.raises(TypeError, match="concurrency must be an int"):
        troupe.group.map("who", [1], concurrency=count)
    with pytest.raises(TypeError, match="members must be an int"):
        await troupe.group.wait_ready(count)
    with pytest.raises(ValueError, match="members must be 1 or more, not 0"):
        await troupe.group.wait_ready(0)


@pytest.mark.parametrize("arguments", [None, [("a", [1])], "a"])
async def test_arguments_by_member_are_a_dict(troupe: Troupe, arguments: Any) -> None:
    with pytest.raises(TypeError, match="a dict by the name of the member"):
        await troupe.group.call_each("who", arguments)


async def test_labels_are_text(troupe: Troupe) -> None:
    with pytest.raises(TypeError, match=r"label 'gpu' is a str, not int: where\(gpu='1'\)"):
        troupe.group.where(gpu=1)  # type: ignore[arg-type]


async def test_who_waits_no_more_is_forgotten(stage: Stage) -> None:
    async with stage("a") as troupe, troupe.group.hold("a"):
        for _ in range(3):
            with pytest.raises(RequestTimeout):
                await troupe.group.options(key=1, timeout=0.01).call("who")
        assert not troupe.group._state._changes.has_waiters


@pytest.mark.parametrize("way", ["map in order", "map", "each"])
async def test_who_waits_for_more_as_it_is_left(troupe: Troupe, way: str) -> None:
    block = (
        troupe.group.each("wait", "x")
        if way == "each"
        else troupe.group.map("wait", ["x"] * 3, ordered=way == "map in order")
    )
    async with block as results:
        reading = [asyncio.create_task(anext(results, "the end")) for _ in range(2)]
        await until(lambda: troupe.ran["x"] == 3)
        with pytest.raises(RuntimeError, match="one at a time"):
            await reading[1]
    assert await soon(reading[0]) == "the end"
    assert await anext(results, "the end") == "the end"
    await until(lambda: all(troupe[name].cancelled for name in "abc"))


@pytest.mark.parametrize("way", ["map in order", "map", "each"])
async def test_who_waits_for_a_while_loses_nothing(troupe: Troupe, way: str) -> None:
    block = (
        troupe.group.each("wait", "x")
        if way == "each"
        else troupe.group.map("wait", ["x"] * 3, ordered=way == "map in order")
    )
    async with block as results:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(results), 0.02)
        for name in "abc":
            troupe[name].gate.set()
        assert len([result async for result in results]) == 3


async def test_leaving_a_map_cancels_the_rest(troupe: Troupe) -> None:
    closed = []

    async def items() -> AsyncIterator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            closed.append(True)

    troupe["a"].gate.set()
    async with troupe.group.map("wait", items(), ordered=False) as results:
        assert await soon(anext(results)) == "a"
    assert closed
    await until(lambda: troupe["b"].cancelled and troupe["c"].cancelled)
    assert troupe.group.statistics().in_flight == 0


async def test_a_map_whose_member_goes(troupe: Troupe) -> None:
    """Nothing runs twice; what was under way on the member is an error, and all else a result."""
    for name in "bc":
        troupe[name].gate.set()
    async with troupe.group.map("wait", range(60), ordered=False, return_exceptions=True) as results:
        got = [await anext(results)]
        await until(lambda: troupe["a"].ran)
        await troupe["a"].server.close()
        got += [result async for result in results]
    errors = [result for result in got if isinstance(result, Exception)]
    assert len(got) == 60 and len(errors) == len(troupe["a"].ran)
    assert all(isinstance(error, ConnectionClosed) or error.executed is Executed.YES for error in errors)  # type: ignore[attr-defined]
    assert troupe.ran == dict.fromkeys(range(60), 1)
