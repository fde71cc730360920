"""Streams behind broken connections: nothing lost, nothing twice, nothing for ever."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ConnectionClosed,
    ConnectionLost,
    ContainerServer,
    Executed,
    Limits,
    LinkState,
    RemoteError,
    RequestCancelled,
    RequestTimeout,
)
from tests.support.scene import QUICK, REDIAL
from tests.support.streams import Stage, all_of, read_into
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq.testing import ProxyFactory
    from tests.support.container import Start


SMALL, WIDE = Limits(stream_items=10), Limits(stream_items=5000, stream_bytes=1 << 20)


@pytest.mark.parametrize(("seed", "limits"), [*enumerate([SMALL, Limits(), WIDE, Limits(stream_bytes=50_000)])])
async def test_a_stream_goes_on_without_loss_duplicate_or_disorder(stage: Stage, seed: int) -> None:
    dice = random.Random(seed)
    sizes = [dice.choice((0, 1, 100, 1000, 70_000, 300_000)) if dice.random() < 0.1 else 3 for _ in range(4000)]

    @stage.server.function
    async def mixed(number: int) -> AsyncIterator[Any]:
        with stage.noted("mixed"):
            for index, size in enumerate(sizes[:number]):
                if dice.random() < 0.01:
                    await asyncio.sleep(0.002)
                yield index, (memoryview(bytes(size)) if size > 1000 else bytes(size))

    async def read(number: int) -> list[Any]:
        found = []
        async for index, data in stage.container.stream("mixed", number):
            found.append((index, len(data)))
            if dice.random() < 0.005:
                await asyncio.sleep(0.005)
        return found

    failing = all_of(stage.container.stream("failing", 2000))
    reading = asyncio.gather(read(4000), read(2000), read(10), failing, return_exceptions=True)
    await asyncio.sleep(0)
    resets = 0
    while not reading.done() and resets < 25:
        await stage.proxy.reset()
        resets += 1
        await asyncio.wait([reading], timeout=dice.choice((0.06, 0.12, 0.2)))
    *found, error = await soon(reading, 40.0)
    assert found == [list(enumerate(sizes[:number])) for number in (4000, 2000, 10)]
    assert isinstance(error, RemoteError) and resets
    assert sorted(stage.ran) == ["failing", "mixed", "mixed", "mixed"]
    assert stage.server.statistics().received == 4


@pytest.mark.parametrize("limits", [SMALL, Limits(), WIDE])
async def test_all_items_are_there_after_many_losses(stage: Stage) -> None:
    streams = [stage.container.stream("count", 1500, size) for size in (0, 0, 0, 500, 500, 20_000)]
    reading = asyncio.gather(*map(all_of, streams))
    for _ in range(12):
        if reading.done():
            break
        await stage.proxy.reset()
        await asyncio.wait([reading], timeout=0.1)
    found = await soon(reading, 50.0)
    for items in found:
        assert [item if isinstance(item, int) else item[0] for item in items] == list(range(1500))
    assert stage.ran == ["count"] * 6 and stage.server.statistics().received == 6


async def test_a_stream_that_stood_still_goes_on(stage: Stage) -> None:
    stream = stage.container.stream("halting", 3)
    assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
    for _ in range(3):
        await stage.lose()
        await stage.container.wait_ready()
    stage.gate.set()
    assert await soon(all_of(stream)) == [3, 4, 5]


async def test_the_end_of_a_stream_may_be_lost_as_well(stage: Stage) -> None:
    stream = stage.container.stream("halting", 3)
    assert await anext(stream) == 0
    stage.proxy.freeze()
    stage.gate.set()
    await until(lambda: len(stage.given) == 6)
    await stage.lose()
    stage.proxy.thaw()
    assert await soon(all_of(stream)) == [1, 2, 3, 4, 5]
    assert stage.ran == ["halting"]


async def test_while_the_link_is_down_a_stream_is_left(stage: Stage) -> None:
    stream = stage.container.stream("halting", 1)
    assert await anext(stream) == 0
    await stage.proxy.cut()
    await until(lambda: stage.container.state is not LinkState.ALIVE)
    await stream.aclose()
    assert stage.ended == []
    stage.proxy.restore()
    await until(lambda: stage.ended == [("halting", asyncio.CancelledError)])


async def test_a_deadline_comes_while_the_link_is_down(stage: Stage) -> None:
    stream = stage.container.stream("halting", 1, timeout=0.4)
    assert await anext(stream) == 0
    await stage.proxy.cut()
    with pytest.raises(RequestTimeout) as late:
        await soon(anext(stream))
    assert late.value.executed is Executed.YES
    await until(lambda: stage.ended == [("halting", asyncio.CancelledError)])
    stage.proxy.restore()


async def test_a_stream_that_is_asked_for_while_the_link_is_down(stage: Stage) -> None:
    await stage.proxy.cut()
    await until(lambda: stage.container.state is not LinkState.ALIVE)
    with pytest.raises(ConnectionError):
        await anext(stage.container.stream("count", 1, wait=False))
    stream = stage.container.stream("count", 100)
    reading = asyncio.create_task(all_of(stream))
    closed = stage.container.stream("count", 100)
    given_up = asyncio.create_task(all_of(closed))
    await asyncio.sleep(0.02)
    with pytest.raises(RuntimeError, match=r"once|one at a time"):
        await anext(stream)
    await closed.aclose()
    stage.proxy.restore()
    assert await soon(reading) == list(range(100))
    assert await soon(given_up) == []


@pytest.mark.parametrize("orphan_after", [0.3])
async def test_an_engine_that_stays_away_leaves_nothing_at_work(stage: Stage) -> None:
    turn = asyncio.Event()

    @stage.server.function(max_concurrency=1)
    async def one_by_one(items: AsyncIterator[Any]) -> None:
        with stage.noted("one_by_one"):
            async for _ in items:
                pass
            await turn.wait()

    @stage.server.function(max_concurrency=1)
    async def next_to(items: AsyncIterator[Any]) -> AsyncIterator[int]:
        with stage.noted("next_to"):
            yield 1
            async for _ in items:
                yield 2

    async def never() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield 1

    streams = [stage.container.stream("forever"), stage.container.stream("halting", 1)]
    for stream in streams:
        assert await anext(stream) == 0
    sources: list[Any] = [[], never(), never()]
    uploads = [asyncio.create_task(stage.container.upload("one_by_one", source)) for source in sources]
    channels = [stage.container.channel("next_to") for _ in range(2)]
    for channel in channels:
        await channel.__aenter__()
    assert await anext(channels[0]) == 1
    await until(lambda: stage.server.statistics().in_flight == 7)
    await stage.proxy.cut()
    await until(lambda: any(peer.state.name == "DETACHED" for peer in stage.peers))
    turn.set()
    await until(lambda: not stage.server.statistics().in_flight)
    assert sorted(stage.ran) == ["forever", "halting", *["next_to"] * 2, *["one_by_one"] * 3]
    (peer,) = stage.peers or [None]
    assert peer is None or not (len(peer.send_streams) or peer.receive_streams or peer._stream_bytes)
    stage.proxy.restore()
    for stream in streams:
        with pytest.raises(RequestCancelled):
            await soon(all_of(stream))
    for upload in uploads:
        with pytest.raises(ConnectionLost):
            await soon(upload)
    for channel in channels:
        with pytest.raises(ConnectionLost):
            await soon(all_of(channel))


async def test_a_container_that_is_killed_ends_streams_behind_what_had_come(start: Start) -> None:
    process = await start()
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        stream = container.stream("climb", 10**9)
        channelled = asyncio.Event()

        async def source() -> AsyncIterator[int]:
            yield 1
            channelled.set()
            await asyncio.Event().wait()

        uploading = asyncio.create_task(container.upload("add_up", source()))
        assert [await anext(stream) for _ in range(3000)] == list(range(3000))
        await soon(channelled.wait())
        process.kill()
        await process.restart()
        following = 3000
        with pytest.raises(ConnectionLost) as lost:
            async for item in stream:
                assert item == following
                following += 1
        error = lost.value
        assert error.executed is Executed.YES and error.instance_changed is True
        assert error.progress is not None and error.progress.received == following
        with pytest.raises(ConnectionLost) as gone:
            await soon(uploading)
        assert gone.value.progress is not None and gone.value.progress.sent == 1
        assert await soon(all_of(container.stream("climb", 3))) == [0, 1, 2]
        assert await container.call("seen") == ["climb"]
        assert worker.statistics().in_flight == 0


async def test_a_container_that_closes_says_so(mpzmq_proxy: ProxyFactory) -> None:
    server = ContainerServer(heartbeat=QUICK)
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker, server:

        @server.function
        async def deaf(items: AsyncIterator[Any]) -> AsyncIterator[int]:
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)

        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        channel = container.channel("deaf")
        async with channel:
            assert await soon(anext(channel)) == 1
            await server.close()
            with pytest.raises(Exception, match=r"ended it|closed") as over:
                await soon(anext(channel))
            assert getattr(over.value, "executed", None) is Executed.YES
            with pytest.raises(type(over.value)):
                await channel.send(1)


async def test_a_worker_that_closes_ends_what_it_streams(stage: Stage) -> None:
    streams = [stage.container.stream("forever") for _ in range(3)]
    for stream in streams:
        await anext(stream)
    channel = stage.container.channel("echo")
    await channel.__aenter__()
    await stage.worker.close()
    with pytest.raises(ConnectionClosed):
        await soon(all_of(streams[0]))
    with pytest.raises(ConnectionClosed):
        await channel.send(1)
    await streams[1].aclose()
    await until(lambda: len(stage.ended) == len(stage.ran) >= 3)


async def test_a_stream_within_a_handler_has_its_deadline(stage: Stage) -> None:
    @stage.server.function
    async def relay(word: str) -> AsyncIterator[Any]:
        with stage.noted("relay"):
            async for item in stage.container.stream("halting", 2):
                yield [word, item]

    @stage.server.function
    async def gather() -> Any:
        return await all_of(stage.container.stream("halting", 2))

    seen: list[Any] = []
    with pytest.raises(RequestTimeout):
        await read_into(seen, stage.container.stream("relay", "w", timeout=0.5))
    assert seen == [["w", 0], ["w", 1]]
    await until(lambda: len(stage.ended) == 2)
    with pytest.raises(RequestTimeout):
        await stage.container.call("gather", timeout=0.3)
    await until(lambda: len(stage.ended) == 3)
    stage.gate.set()
    assert await stage.container.call("gather") == [0, 1, 2, 3]
