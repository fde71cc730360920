"""Uploads over real sockets: what is read of the source, and every way to end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ConnectionClosed,
    ConnectionLost,
    ContainerStopped,
    Executed,
    InvalidArguments,
    Limits,
    LinkState,
    Overloaded,
    RemoteError,
    RequestTimeout,
    Status,
)
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.streams import Stage


MEBIBYTE = 1 << 20


class Source:
    """Gives items, and knows how many were asked of it, and whether it was closed.

    Args:
        number: of items; None: for ever.
        item: what each of them is; None: its number.
        fails_at: raises instead of this one.
    """

    def __init__(self, number: int | None = None, item: Any = None, fails_at: int | None = None) -> None:
        self.number = number
        self.item = item
        self.fails_at = fails_at
        self.given = 0
        self.closed = False

    async def __call__(self) -> AsyncIterator[Any]:
        try:
            while self.number is None or self.given < self.number:
                if self.given == self.fails_at:
                    raise ZeroDivisionError("of the source")
                self.given += 1
                yield self.given - 1 if self.item is None else self.item
                await asyncio.sleep(0)
        finally:
            self.closed = True

    def plainly(self) -> Iterator[Any]:
        try:
            while self.number is None or self.given < self.number:
                self.given += 1
                yield self.given - 1
        finally:
            self.closed = True


@pytest.mark.parametrize("number", [0, 1, 1024, 5000])
async def test_all_kinds_of_sources(stage: Stage, number: int) -> None:
    source, plain = Source(number), Source(number)
    expected = sum(range(number))
    for items in (source(), plain.plainly(), list(range(number)), range(number)):
        assert await soon(stage.container.upload("total", items)) == expected
        assert stage.taken == list(range(number))
        stage.taken.clear()
    assert source.closed and plain.closed
    assert await soon(stage.container.upload("total", range(number), 10, factor=2)) == 2 * (expected + 10)


@pytest.mark.parametrize("items", ["text", b"bytes", bytearray(2), memoryview(b"x"), 5, None, {"a": 1}])
async def test_what_is_no_source(stage: Stage, items: Any) -> None:
    with pytest.raises(TypeError, match="the items are an async iterable"):
        await stage.container.upload("total", items)
    assert stage.worker.statistics().issued == 0


async def test_large_items_next_to_small_ones(stage: Stage) -> None:
    blob = bytes(MEBIBYTE)
    assert await soon(stage.container.upload("total", [1, blob, 2, memoryview(blob), 3] * 10)) == 60 + 20 * MEBIBYTE


async def test_what_the_source_raises_comes_out_and_ends_the_handler(stage: Stage) -> None:
    source = Source(fails_at=5)
    with pytest.raises(ZeroDivisionError, match="of the source"):
        await soon(stage.container.upload("total", source()))
    await until(lambda: stage.ended == [("total", asyncio.CancelledError)])
    assert source.closed and stage.worker.statistics().cancelled == 1


async def test_an_item_that_cannot_be_sent_comes_out(stage: Stage) -> None:
    with pytest.raises(TypeError, match="object"):
        await soon(stage.container.upload("total", [1, object()]))
    await until(lambda: stage.ended == [("total", asyncio.CancelledError)])


async def test_a_handler_that_returns_early_closes_the_source(stage: Stage) -> None:
    source, plain = Source(), Source()
    assert await soon(stage.container.upload("first", source(), 3)) == [0, 1, 2]
    assert source.closed
    items = plain.plainly()
    assert await soon(stage.container.upload("first", items, 3)) == [0, 1, 2]
    assert plain.closed


async def test_a_source_that_waits_is_closed_as_well(stage: Stage) -> None:
    closed = []

    async def waiting() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            closed.append(True)

    assert await soon(stage.container.upload("first", waiting())) == [1]
    assert closed


async def test_a_handler_that_raises_closes_the_source(stage: Stage) -> None:
    source = Source()
    with pytest.raises(RemoteError, match="7") as raised:
        await soon(stage.container.upload("bad", source(), 7))
    assert raised.value.error_type == "LookupError" and source.closed


@pytest.mark.parametrize("limits", [Limits(stream_items=8)])
async def test_no_more_is_read_than_fits_by_items(stage: Stage) -> None:
    source = Source(500)
    uploading = asyncio.create_task(stage.container.upload("unread", source()))
    await until(lambda: source.given == 16)
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert source.given == 16, "as many as there is credit for, and as many that wait"
    stage.gate.set()
    assert await soon(uploading) == "read" and stage.taken == list(range(500))


@pytest.mark.parametrize("limits", [Limits(stream_bytes=100_000)])
async def test_no_more_is_read_than_fits_by_bytes(stage: Stage) -> None:
    source = Source(500, bytes(10_000))
    uploading = asyncio.create_task(stage.container.upload("unread", source()))
    await until(lambda: source.given >= 10)
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert source.given <= 22
    (peer,) = stage.peers
    (receive_stream,) = peer.receive_streams.values()
    assert receive_stream._received_bytes < 120_000
    stage.gate.set()
    assert await soon(uploading) == "read" and len(stage.taken) == 500


async def test_what_is_refused_reads_nothing(stage: Stage) -> None:
    source = Source()
    await stage.container.set_state(Status.STOP)
    with pytest.raises(ContainerStopped):
        await stage.container.upload("total", source())
    await stage.container.set_state(Status.RUNNING)
    with pytest.raises(InvalidArguments):
        await stage.container.upload("total", source(), 1, 2, 3)
    assert source.given == 0 and stage.ran == []


async def test_a_deadline_ends_an_upload(stage: Stage) -> None:
    source = Source()
    with pytest.raises(RequestTimeout) as late:
        await soon(stage.container.upload("unread", source(), timeout=0.3))
    assert late.value.executed is Executed.YES and source.closed and "idle" not in str(late.value)
    await until(lambda: stage.ended == [("unread", asyncio.CancelledError)])


async def test_a_deadline_ends_an_upload_with_patience(stage: Stage) -> None:
    with pytest.raises(RequestTimeout) as late:
        await soon(stage.container.upload("unread", Source()(), timeout=0.2, idle_timeout=8.0))
    assert "idle" not in str(late.value)


async def test_idle_timeout_is_about_the_container(stage: Stage) -> None:
    source = Source()
    with pytest.raises(RequestTimeout, match="idle_timeout") as late:
        await soon(stage.container.upload("unread", source(), idle_timeout=0.2))
    assert late.value.executed is not Executed.NO and source.closed
    await until(lambda: stage.ended)

    async def slow() -> AsyncIterator[int]:
        for index in range(3):
            await asyncio.sleep(0.15)
            yield index

    assert await soon(stage.container.upload("total", slow(), idle_timeout=0.1)) == 3


async def test_a_cancelled_upload_ends_its_handler_and_its_source(stage: Stage) -> None:
    source = Source()
    uploading = asyncio.create_task(stage.container.upload("unread", source()))
    await until(lambda: source.given > 100)
    uploading.cancel()
    await asyncio.wait([uploading])
    assert uploading.cancelled() and source.closed
    await until(lambda: stage.ended == [("unread", asyncio.CancelledError)])
    assert stage.worker.statistics().cancelled == 1


@pytest.mark.parametrize("way", ["cancelled", "deadline", "closed"])
async def test_a_handler_that_runs_to_its_end_reads_no_further_than_its_caller_waits(stage: Stage, way: str) -> None:
    told: list[ConnectionLost] = []
    both = asyncio.Event()

    @stage.server.function(cancellable=False)
    async def stubborn(items: AsyncIterator[Any]) -> None:
        with stage.noted("stubborn"):
            try:
                async for item in items:
                    stage.taken.append(item)
                    both.set() if item else None
            except ConnectionLost as error:
                told.append(error)

    async def source() -> AsyncIterator[int]:
        yield 0
        yield 1
        await asyncio.Event().wait()

    timeout = 0.3 if way == "deadline" else None
    uploading = asyncio.create_task(stage.container.upload("stubborn", source(), timeout=timeout))
    await soon(both.wait())
    if way == "cancelled":
        uploading.cancel()
    elif way == "closed":
        await stage.container.disconnect()
    await soon(asyncio.gather(uploading, return_exceptions=True))
    await until(lambda: stage.ended == [("stubborn", None)])
    (error,) = told
    assert isinstance(error, ConnectionClosed) and "does not wait for it any more" in str(error)
    assert error.progress is not None and error.progress.received == 2 == len(stage.taken)


async def test_a_lost_connection_ends_it_on_both_sides(stage: Stage) -> None:
    lost: list[ConnectionLost] = []

    @stage.server.function
    async def knows(items: AsyncIterator[Any]) -> None:
        with stage.noted("knows"):
            try:
                async for item in items:
                    stage.taken.append(item)
            except ConnectionLost as error:
                lost.append(error)

    async def source() -> AsyncIterator[int]:
        for index in range(100):
            yield index
        await asyncio.Event().wait()

    uploading = asyncio.create_task(stage.container.upload("knows", source()))
    await until(lambda: len(stage.taken) == 100)
    await stage.lose()
    with pytest.raises(ConnectionLost) as told:
        await soon(uploading)
    progress = told.value.progress
    assert progress is not None and (progress.sent, progress.received) == (100, 0) and progress.taken <= 100
    assert told.value.executed is not Executed.NO
    await until(lambda: stage.ended == [("knows", None)])
    assert lost[0].progress is not None and lost[0].progress.received == 100
    assert await stage.container.upload("total", [1, 2]) == 3


async def test_an_upload_waits_for_a_link_that_is_down(stage: Stage) -> None:
    await stage.proxy.cut()
    await until(lambda: stage.container.state is not LinkState.ALIVE)
    source = Source(10)
    uploading = asyncio.create_task(stage.container.upload("total", source()))
    given_up = asyncio.create_task(stage.container.upload("total", Source()()))
    await asyncio.sleep(0.05)
    given_up.cancel()
    await asyncio.wait([given_up])
    assert source.given == 0
    with pytest.raises(ConnectionError):
        await stage.container.upload("total", Source()(), wait=False)
    stage.proxy.restore()
    assert await soon(uploading) == 45


@pytest.mark.parametrize("limits", [Limits(message_bytes=1 << 15, queued_bytes=1 << 16)])
async def test_more_uploads_than_there_is_memory_for(stage: Stage) -> None:
    """Windows of 16 KiB: four of them."""
    uploads = [asyncio.create_task(stage.container.upload("unread", Source(10)())) for _ in range(12)]
    await until(lambda: len(stage.ran) == 4 and stage.server.statistics().refused == 8)
    refused = [upload for upload in uploads if upload.done()]
    stage.gate.set()
    await soon(asyncio.wait(uploads))
    errors = [upload.exception() for upload in uploads]
    assert len([error for error in errors if error is None]) == 4 and len(refused) <= 8
    for error in errors:
        assert error is None or (isinstance(error, Overloaded) and error.executed is Executed.NO)
    (peer,) = stage.peers
    assert peer.stream_room == 1 << 14


@pytest.mark.parametrize("limits", [Limits(stream_items=1), Limits(stream_items=2, stream_bytes=10)])
async def test_the_smallest_window_lets_many_uploads_pass(stage: Stage) -> None:
    uploads = [stage.container.upload("total", Source(50)()) for _ in range(100)]
    assert await soon(asyncio.gather(*uploads), 30.0) == [sum(range(50))] * 100
    assert stage.container.statistics().reconnects == 0


async def test_close_in_the_middle(stage: Stage) -> None:
    source = Source()
    uploading = asyncio.create_task(stage.container.upload("total", source()))
    await until(lambda: len(stage.taken) > 2000)
    await stage.worker.close()
    with pytest.raises(ConnectionClosed) as closed:
        await soon(uploading)
    assert closed.value.progress is not None and closed.value.progress.sent >= closed.value.progress.taken > 0
    assert source.closed
    await until(lambda: stage.ended)
