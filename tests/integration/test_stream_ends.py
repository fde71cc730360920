"""How streams of results end: by their readers, by errors, by deadlines, by the end of either side."""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ConnectionClosed,
    ContainerDraining,
    ContainerStopped,
    Executed,
    NotConnected,
    Refused,
    RemoteError,
    RequestCancelled,
    RequestTimeout,
    Status,
)
from tests.support.streams import Stage, all_of, read_into
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def leave_by_break(stage: Stage) -> None:
    async for item in stage.container.stream("forever"):
        if item == 10:
            break


async def leave_by_aclose(stage: Stage) -> None:
    stream = stage.container.stream("forever")
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def leave_by_cancel(stage: Stage) -> None:
    async def read() -> None:
        async for _ in stage.container.stream("halting", 10):
            pass

    task = asyncio.create_task(read())
    await until(lambda: len(stage.given) == 10)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def leave_by_timeout(stage: Stage) -> None:
    stream = stage.container.stream("halting", 1)
    await anext(stream)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.05)
    assert await all_of(stream) == []


async def leave_by_drop(stage: Stage) -> None:
    stream = stage.container.stream("forever")
    await anext(stream)
    del stream


async def leave_by_an_exception(stage: Stage) -> None:
    with pytest.raises(ZeroDivisionError):
        async with stage.container.stream("forever") as stream:
            async for item in stream:
                1 / (10 - item)


WAYS = (leave_by_break, leave_by_aclose, leave_by_cancel, leave_by_timeout, leave_by_drop, leave_by_an_exception)


@pytest.mark.parametrize("leave", WAYS, ids=lambda way: way.__name__)
async def test_a_reader_that_leaves_ends_the_generator(stage: Stage, leave: Any) -> None:
    await leave(stage)
    await until(lambda: len(stage.ended) == 1)
    await until(stage.is_tidy)
    assert stage.worker.statistics().cancelled == 1
    assert stage.server.statistics().cancelled == 1
    assert await stage.container.call("plain", "still here") == "still here"


@pytest.mark.parametrize("then", ["returns", "raises", "yields on"])
async def test_a_generator_that_swallows_its_cancellation_ends_all_the_same(stage: Stage, then: str) -> None:
    begun = asyncio.Event()

    @stage.server.function
    async def deaf() -> AsyncIterator[int]:
        with stage.noted("deaf"):
            yield 0
            try:
                begun.set()
                await stage.gate.wait()
            except asyncio.CancelledError:
                pass
            if then == "raises":
                raise LookupError
            while then == "yields on":
                yield 1
                await asyncio.sleep(0)

    async with stage.container.stream("deaf") as stream:
        assert await soon(anext(stream)) == 0
        await soon(begun.wait())
    await until(lambda: len(stage.ended) == 1)
    await until(stage.is_tidy)
    assert stage.worker.statistics().cancelled == 1


async def test_streams_that_were_never_read_ask_for_nothing(stage: Stage) -> None:
    stream = stage.container.stream("forever")
    closed = stage.container.stream("forever")
    await closed.aclose()
    assert await soon(all_of(closed)) == []
    del stream, closed
    gc.collect()
    await stage.container.call("plain", "x")
    assert stage.ran == [] and stage.worker.statistics().issued == 1


async def test_a_stream_has_one_reader(stage: Stage) -> None:
    stream = stage.container.stream("halting", 1)
    assert await anext(stream) == 0
    first = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one at a time"):
        await anext(stream)
    stage.gate.set()
    assert await soon(first) == 1
    with pytest.raises(RuntimeError, match="once"):
        await stream.__aenter__()
    assert await soon(all_of(stream)) == []


async def test_what_the_generator_raises_comes_behind_its_items(stage: Stage) -> None:
    seen: list[Any] = []
    with pytest.raises(RemoteError, match="no more") as raised:
        await read_into(seen, stage.container.stream("failing", 2000))
    assert seen == list(range(2000))
    assert raised.value.error_type == "LookupError" and raised.value.executed is Executed.YES
    assert stage.worker.statistics().failed == stage.server.statistics().failed == 1


async def test_an_error_of_a_stream_that_nobody_reads_on_is_no_news(stage: Stage) -> None:
    """The guard of the stage fails for 'Future exception was never retrieved'."""
    stream = stage.container.stream("failing", 1)
    await anext(stream)
    await until(lambda: stage.server.statistics().failed)
    await until(lambda: not stage.worker.statistics().in_flight)
    del stream
    async with stage.container.stream("nothing"):
        await until(lambda: stage.server.statistics().refused)
        await until(lambda: not stage.worker.statistics().in_flight)


async def test_refused_before_the_first_item(stage: Stage) -> None:
    @stage.server.function
    async def picky() -> AsyncIterator[int]:
        raise Refused("not today")
        yield 1

    with pytest.raises(Refused, match="not today") as refused:
        await anext(stage.container.stream("picky"))
    assert refused.value.executed is not Executed.UNKNOWN


async def test_a_deadline_ends_a_stream_at_once(stage: Stage) -> None:
    stream = stage.container.stream("halting", 100, timeout=0.2)
    assert await anext(stream) == 0
    await until(lambda: stage.worker.statistics().failed)
    seen: list[Any] = []
    with pytest.raises(RequestTimeout) as late:
        await read_into(seen, stream)
    assert late.value.executed is Executed.YES
    assert len(seen) < 100, "what had come to the reader already is there"
    await until(lambda: stage.server.statistics().cancelled)
    assert stage.ended == [("halting", asyncio.CancelledError)]


async def test_idle_timeout_is_between_items(stage: Stage) -> None:
    stream = stage.container.stream("halting", 3, idle_timeout=0.2)
    seen: list[Any] = []
    with pytest.raises(RequestTimeout, match="idle_timeout") as late:
        async for item in stream:
            seen.append(item)
            await asyncio.sleep(0.1)
    assert seen == [0, 1, 2] and late.value.executed is Executed.YES
    await until(lambda: stage.server.statistics().cancelled)
    for wrong in (0, -1, "x", True):
        with pytest.raises((ValueError, TypeError), match="idle_timeout"):
            stage.container.stream("count", 1, idle_timeout=wrong)  # type: ignore[arg-type]


async def test_stopped_and_draining(stage: Stage) -> None:
    await stage.container.set_state(Status.STOP)
    with pytest.raises(ContainerStopped):
        await anext(stage.container.stream("count", 1))
    await stage.container.set_state(Status.RUNNING)
    stream = stage.container.stream("halting", 3000)
    assert await anext(stream) == 0
    draining = asyncio.create_task(stage.server.drain(8.0))
    await until(lambda: str(stage.container.state) == "DRAINING")
    with pytest.raises(ContainerDraining):
        await anext(stage.container.stream("count", 1, wait=False))
    stage.gate.set()
    assert await soon(all_of(stream)) == list(range(1, 6000))
    await soon(draining)


async def test_a_container_that_closes_ends_the_stream_behind_what_had_come(stage: Stage) -> None:
    stream = stage.container.stream("halting", 5)
    assert await anext(stream) == 0
    await stage.server.drain(0.2)
    assert stage.ended == []
    closing = asyncio.create_task(stage.server.close())
    seen: list[Any] = []
    with pytest.raises(RequestCancelled) as cancelled:
        await read_into(seen, stream)
    await soon(closing)
    assert seen == [1, 2, 3, 4] and cancelled.value.executed is Executed.YES
    assert stage.ended == [("halting", asyncio.CancelledError)]


async def test_close_in_the_middle(stage: Stage) -> None:
    halting, unread = stage.container.stream("halting", 5), stage.container.stream("forever")
    assert await anext(halting) == await anext(unread) == 0
    reading = asyncio.create_task(all_of(halting))
    await asyncio.sleep(0)
    await stage.container.disconnect()
    with pytest.raises(ConnectionClosed) as closed:
        await soon(reading)
    assert closed.value.executed is Executed.YES and closed.value.progress is not None
    assert closed.value.progress.received == 5
    seen: list[Any] = []
    with pytest.raises(ConnectionError):
        await read_into(seen, unread)
    assert seen == list(itertools.islice(itertools.count(1), len(seen)))
    with pytest.raises(NotConnected):
        stage.worker.service().stream(stage.container.remote_id, "count", 1)
    with pytest.raises(NotConnected):
        await anext(stage.container.stream("count", 1))
