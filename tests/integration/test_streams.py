"""Streams of results over real sockets: order, bounds, and every way to end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    Executed,
    InvalidArguments,
    Limits,
    Overloaded,
    RemoteError,
    Unsupported,
    current_request,
)
from tests.support.streams import Stage, all_of, read_into
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


MEBIBYTE = 1 << 20


async def settled(numbers: list[Any]) -> int:
    """How many there are when no more have come for some turns of both sides."""
    known = -1
    while len(numbers) != known:
        known = len(numbers)
        await asyncio.sleep(0.05)
    return known


@pytest.mark.parametrize("limits", [Limits(items=10)])
async def test_streams_of_sides_that_take_short_arrays_only(stage: Stage) -> None:
    assert await soon(all_of(stage.container.stream("count", 1000))) == list(range(1000))
    assert await soon(stage.container.upload("total", range(1000))) == sum(range(1000))


@pytest.mark.parametrize("number", [0, 1, 1023, 1024, 1025, 20_000])
async def test_all_items_come_in_order(stage: Stage, number: int) -> None:
    assert await soon(all_of(stage.container.stream("count", number))) == list(range(number))
    assert stage.ended == [("count", None)]


async def test_arguments_context_and_metadata(stage: Stage) -> None:
    assert await all_of(stage.container.stream("count", number=2, size=1)) == [[0, b"\0"], [1, b"\0"]]
    stream = stage.worker.service().stream(stage.container.remote_id, "whose", "w", metadata={"trace": "x"})
    assert await all_of(stream) == [["whose", {"trace": "x"}, "w"]]
    with pytest.raises(InvalidArguments) as wrong:
        await anext(stage.container.stream("count"))
    assert wrong.value.executed is Executed.NO


async def test_large_items_next_to_small_ones(stage: Stage) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(100_000).reshape(100, 1000)
    blob = bytes(range(256)) * (MEBIBYTE // 256)

    @stage.server.function
    async def mixed() -> AsyncIterator[Any]:
        for index in range(20):
            yield index
            yield blob
            yield array
            yield [index, {"array": array, "view": memoryview(blob)}]

    items = await soon(all_of(stage.container.stream("mixed")))
    assert len(items) == 80
    for index in range(20):
        small, large, whole, both = items[4 * index : 4 * index + 4]
        assert small == index and large == blob and both[0] == index and both[1]["view"] == blob
        assert numpy.array_equal(whole, array) and numpy.array_equal(both[1]["array"], array)


async def test_what_an_item_refers_to_may_change_after_the_yield(stage: Stage) -> None:
    @stage.server.function
    async def reusing() -> AsyncIterator[Any]:
        buffer = bytearray(100_000)
        for index in range(100):
            buffer[:] = bytes((index,)) * len(buffer)
            yield memoryview(buffer)

    seen = [bytes(item) async for item in stage.container.stream("reusing")]
    assert seen == [bytes((index,)) * 100_000 for index in range(100)]


async def test_an_item_that_cannot_be_encoded_comes_behind_those_before_it(stage: Stage) -> None:
    @stage.server.function
    async def odd() -> AsyncIterator[Any]:
        with stage.noted("odd"):
            yield 1
            yield 2
            yield object()

    seen: list[Any] = []
    with pytest.raises(RemoteError, match="object") as raised:
        await read_into(seen, stage.container.stream("odd"))
    assert seen == [1, 2] and raised.value.error_type == "EncodeError"
    # It was raised outside of the generator: for it, it was as if nobody read on.
    assert stage.ended == [("odd", GeneratorExit)]


@pytest.mark.parametrize("limits", [Limits(message_bytes=100_000)])
async def test_an_item_that_is_too_large_comes_behind_those_before_it(stage: Stage) -> None:
    seen: list[Any] = []
    with pytest.raises(RemoteError, match="at most") as raised:
        await read_into(seen, stage.container.stream("count", 3, 200_000))
    assert seen == [] and raised.value.error_type == "MessageTooLarge"


@pytest.mark.parametrize("limits", [Limits(stream_items=8)])
async def test_a_slow_reader_stops_the_generator_by_items(stage: Stage) -> None:
    most = 16
    async with stage.container.stream("forever") as stream:
        await until(lambda: len(stage.given) >= most)
        assert await settled(stage.given) <= most
        for index in range(20):
            assert await soon(anext(stream)) == index
        assert most < await settled(stage.given) <= most + 20 + 8
    await until(lambda: stage.ended == [("forever", GeneratorExit)] or stage.ended)


@pytest.mark.parametrize("limits", [Limits(stream_items=100_000, stream_bytes=MEBIBYTE)])
async def test_a_slow_reader_stops_the_generator_by_bytes(stage: Stage) -> None:
    most = (2 * MEBIBYTE + 4 * 65536) // 10_000
    async with stage.container.stream("forever", 10_000) as stream:
        await until(lambda: stage.given)
        assert await settled(stage.given) < most
        (peer,) = stage.peers
        (flow,) = peer.send_streams._flows.values()
        assert sum(size for _, _, size in flow._kept) <= MEBIBYTE + 4 * 65536 + 20_000
        for index in range(1000):
            assert (await soon(anext(stream)))[0] == index
        assert await settled(stage.given) < most + 1000


@pytest.mark.parametrize("limits", [Limits(stream_items=1), Limits(stream_items=2), Limits(stream_bytes=1)])
async def test_the_smallest_window_lets_everything_pass(stage: Stage) -> None:
    assert await soon(all_of(stage.container.stream("count", 300))) == list(range(300))


@pytest.mark.parametrize("limits", [Limits(stream_items=8)])
async def test_a_reader_that_takes_its_time_gets_everything(stage: Stage) -> None:
    """It reads the next item only when both sides have come to rest."""
    stream = stage.container.stream("count", 60)
    for index in range(60):
        assert await soon(anext(stream)) == index
        for _ in range(10):
            await asyncio.sleep(0.001)
    with pytest.raises(StopAsyncIteration):
        await soon(anext(stream))
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.parametrize(
    ("ask", "way"),
    [
        (lambda c: anext(c.stream("nothing")), "no function"),
        (lambda c: anext(c.stream("cuont", 1)), "did you mean 'count'"),
        (lambda c: anext(c.stream("plain", "x")), r"by call\(\)"),
        (lambda c: anext(c.stream("total", 1)), r"by upload\(\)"),
        (lambda c: anext(c.stream("echo")), r"by channel\(\)"),
        (lambda c: c.call("count", 1), r"by stream\(\)"),
        (lambda c: c.call("total", 1), r"by upload\(\)"),
        (lambda c: c.upload("count", [1]), "takes no stream"),
        (lambda c: c.upload("plain", [1]), "takes no stream"),
        (lambda c: c.upload("echo", [1]), r"by channel\(\)"),
        (lambda c: anext(c.channel("count", 1)), "takes no stream"),
        (lambda c: anext(c.channel("total")), r"by upload\(\)"),
    ],
)
async def test_a_function_that_is_asked_in_the_wrong_way_names_the_right_one(stage: Stage, ask: Any, way: str) -> None:
    with pytest.raises(Unsupported, match=way) as wrong:
        await soon(ask(stage.container))
    assert wrong.value.executed is Executed.NO and stage.ran == []


async def test_a_stream_waits_for_room_or_not(stage: Stage) -> None:
    """The container has room for more: a handler that is cancelled may not have ended when the next request comes."""
    async with ComputerEngineWorker(limits=Limits(in_flight=2)) as worker:
        container = await worker.connect(stage.proxy.endpoint)
        streams = [container.stream("halting", 1) for _ in range(2)]
        assert [await anext(stream) for stream in streams] == [0, 0]
        with pytest.raises(Overloaded):
            await anext(container.stream("count", 1, wait=False))
        held = container.stream("count", 1)
        waiting = asyncio.create_task(anext(held))
        given_up = asyncio.create_task(anext(container.stream("count", 1)))
        closed = container.stream("count", 1)
        opening = asyncio.create_task(all_of(closed))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="opens this stream already"):
            await anext(closed)
        await closed.aclose()
        given_up.cancel()
        await asyncio.wait([given_up])
        stage.gate.set()
        await streams[0].aclose()
        assert await soon(waiting) == 0
        assert await soon(opening) == []
        assert worker.statistics().cancelled == 3
        await streams[1].aclose()


async def test_many_streams_at_once(stage: Stage) -> None:
    streams = [stage.container.stream("count", 50 + index) for index in range(200)]
    found = await soon(asyncio.gather(*map(all_of, streams)), 30.0)
    assert found == [list(range(50 + index)) for index in range(200)]
    (peer,) = stage.peers
    assert not len(peer.send_streams)


async def test_the_request_is_known_below_the_generator(stage: Stage) -> None:
    @stage.server.function(max_concurrency=1)
    async def knows() -> AsyncIterator[Any]:
        for _ in range(3):
            await asyncio.sleep(0)
            request = current_request()
            yield None if request is None else [request.function, request.request_id]

    found = await soon(asyncio.gather(*(all_of(stage.container.stream("knows")) for _ in range(3))))
    assert all(len({ids[1] for ids in one}) == 1 and one[0][0] == "knows" for one in found)
    assert len({one[0][1] for one in found}) == 3
    with pytest.raises(TypeError):
        stage.server.function(lambda: (yield), name="plain_generator")


async def test_streams_of_large_items_do_not_wait_for_one_another(stage: Stage) -> None:
    """Each item is far beyond the credit; the one that came first is read last."""
    size = 6 * MEBIBYTE
    one, two = stage.container.stream("count", 3, size), stage.container.stream("count", 3, size)
    async with one, two:
        await until(lambda: one._receive_stream.received)
        async for index, data in two:
            assert len(data) == size
            assert await soon(anext(one)) == [index, data]
