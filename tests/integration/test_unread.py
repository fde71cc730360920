"""What engines leave unread: a container bounds it for all of them together (Limits.total_bytes)."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

from mpzmq import (
    ComputerEngineWorker,
    ConnectionLost,
    ContainerServer,
    Executed,
    Limits,
    LinkDown,
    ReconnectPolicy,
    RequestCancelled,
)
from mpzmq.config import DEFAULT_LIMITS
from mpzmq.testing.simnet.network import MemoryNetwork, VirtualClockLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from mpzmq import ComputerEngineWriter

WHERE = "tcp://127.0.0.1:3010"
KB = 1000


def run(scene: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(scene)


class Stage:
    """A container, and engines whose connections can be stopped from taking anything."""

    def __init__(self, limits: Limits) -> None:
        self.network = MemoryNetwork(1)
        self.server = ContainerServer(limits=limits)
        self.server._transport = self.network
        self.gate = asyncio.Event()
        self.runs = 0
        self.downs: list[str] = []
        self.server.function(self.large)
        self.server.function(self.items)

    async def large(self, size: int) -> bytes:
        self.runs += 1
        await self.gate.wait()
        return bytes(size)

    async def items(self, count: int, size: int) -> AsyncIterator[bytes]:
        await self.gate.wait()
        for _ in range(count):
            yield bytes(size)

    async def engine(self, name: str, limits: Limits = DEFAULT_LIMITS) -> ComputerEngineWriter:
        worker = ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.1), limits=limits)
        worker._transport = self.network.host()
        container = await worker.connect(uuid.uuid4(), WHERE, name=name)
        self.workers.append(worker)
        self._listening.append(asyncio.create_task(self._listen(worker)))
        return container

    async def _listen(self, worker: ComputerEngineWorker) -> None:
        async for event in worker.service().events():
            if isinstance(event, LinkDown):
                self.downs.append(event.name)

    async def __aenter__(self) -> Stage:
        self.workers: list[ComputerEngineWorker] = []
        self._listening: list[asyncio.Task[None]] = []
        await self.server.bind(WHERE)
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            await worker.close()
        await self.server.close()

    async def fill(self) -> None:
        """All handlers end, or give what they have, while no connection takes anything."""
        self.network.choke(WHERE, inward=False)
        self.gate.set()
        await asyncio.sleep(0.5)
        self.network.unchoke(WHERE, inward=False)


async def outcomes(*calls: asyncio.Task[bytes]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


def test_the_connection_for_which_most_waits_is_given_up() -> None:
    async def scene() -> None:
        async with Stage(Limits(total_bytes=300 * KB)) as stage:
            much, little = await stage.engine("much"), await stage.engine("little")
            many = [asyncio.create_task(much.call("large", 10 * KB)) for _ in range(40)]
            few = [asyncio.create_task(little.call("large", 10 * KB)) for _ in range(10)]
            await asyncio.sleep(0.1)
            await stage.fill()
            assert [len(answer) for answer in await outcomes(*few)] == [10 * KB] * 10
            lost = [error for error in await outcomes(*many) if isinstance(error, ConnectionLost)]
            assert len(lost) >= 25 and {error.executed for error in lost} == {Executed.YES}
            assert "its reply is not kept" in str(lost[0])
            assert stage.runs == 50 and stage.downs == ["much"], "nothing ran twice, and nobody else was given up"
            assert stage.server.statistics().waiting_bytes == 0

    run(scene())


def test_one_reply_may_be_larger_than_all_that_may_wait() -> None:
    async def scene() -> None:
        async with Stage(Limits(total_bytes=10 * KB)) as stage:
            container = await stage.engine("one")
            call = asyncio.create_task(container.call("large", 500 * KB))
            await asyncio.sleep(0.1)
            await stage.fill()
            assert len(await call) == 500 * KB and not stage.downs

    run(scene())


def test_streams_that_nobody_reads_end_with_the_connection_that_is_given_up() -> None:
    async def scene() -> None:
        async with Stage(Limits(total_bytes=300 * KB)) as stage:
            unread, read = await stage.engine("unread"), await stage.engine("read")
            streams = [unread.stream("items", 5, 20 * KB) for _ in range(20)]
            waiting = [asyncio.create_task(anext(stream)) for stream in streams]
            good = read.stream("items", 50, KB)
            first = asyncio.create_task(anext(good))
            await asyncio.sleep(0.1)
            await stage.fill()
            assert len(await first) == KB and len([item async for item in good]) == 49
            ended = [error for error in await outcomes(*waiting) if isinstance(error, RequestCancelled)]
            assert ended and all(error.executed is Executed.YES for error in ended)
            assert "Limits.total_bytes" in str(ended[0])
            for stream in streams:
                await stream.aclose()
            assert stage.downs == ["unread"]

    run(scene())


def test_a_handler_that_swallows_its_end_keeps_nothing() -> None:
    async def scene() -> None:
        async with Stage(Limits(total_bytes=100 * KB)) as stage:

            @stage.server.function
            async def endless() -> AsyncIterator[bytes]:
                await stage.gate.wait()
                while True:
                    with contextlib.suppress(asyncio.CancelledError):
                        yield bytes(20 * KB)
                        await asyncio.sleep(0.1)

            container = await stage.engine("one")
            streams = [container.stream("endless") for _ in range(10)]
            waiting = [asyncio.create_task(anext(stream)) for stream in streams]
            await asyncio.sleep(0.1)
            await stage.fill()
            ended = [error for error in await outcomes(*waiting) if isinstance(error, RequestCancelled)]
            assert ended
            for stream in streams:
                await stream.aclose()
            await asyncio.sleep(1.0)
            assert stage.server.statistics().in_flight == stage.server.statistics().waiting_bytes == 0

    run(scene())


def held(container: ComputerEngineWriter) -> int:
    """Bytes that lie unread in all streams of a link."""
    return container._connection.link.tracker.receive_budget.unread


def test_what_lies_unread_in_all_streams_of_a_link_is_bounded_and_each_goes_on_when_it_is_read() -> None:
    async def scene() -> None:
        async with Stage(Limits()) as stage:
            stage.gate.set()
            container = await stage.engine("one", Limits(queued_bytes=1000 * KB))
            streams = [container.stream("items", 30, 100 * KB) for _ in range(60)]
            for stream in streams:
                await stream.__aenter__()
            await asyncio.sleep(1.0)
            assert 1000 * KB <= held(container) <= 1100 * KB + 1000, "60 streams, none of which is read"
            assert stage.server.statistics().waiting_bytes <= 2000 * KB, "nor are items made that nobody may get"
            # One that is read goes on to its end, whatever lies unread in the others; so do two that are read in turn.
            assert len([item async for item in streams[-1]]) == 30
            for _ in range(30):
                assert len(await anext(streams[40])) == len(await anext(streams[50])) == 100 * KB
            assert held(container) <= 1300 * KB
            # All of them are read to their ends.
            rest = [stream for stream in streams if stream not in (streams[-1], streams[40], streams[50])]
            for stream in rest:
                assert len([item async for item in stream]) == 30
            assert held(container) == 0 and not stage.downs
            assert await container.call("large", 10) == bytes(10)
            assert stage.server.statistics().waiting_bytes == 0

    run(scene())


def test_streams_that_are_opened_when_too_much_lies_unread_go_on_behind_a_lost_connection() -> None:
    async def scene() -> None:
        async with Stage(Limits()) as stage:
            stage.gate.set()
            container = await stage.engine("one", Limits(queued_bytes=100 * KB))
            unread = [container.stream("items", 3, 60 * KB) for _ in range(5)]
            for stream in unread:
                await stream.__aenter__()
            await asyncio.sleep(0.5)
            late = container.stream("items", 50, 20 * KB)
            assert len(await anext(late)) == 20 * KB
            for _ in range(4):
                reading = asyncio.create_task(anext(late))
                await asyncio.sleep(0)
                stage.network.cut(WHERE)
                assert len(await reading) == 20 * KB
                assert held(container) <= 200 * KB
            assert len([item async for item in late]) == 45
            for stream in unread:
                assert len([item async for item in stream]) == 3

    run(scene())


def test_streams_that_are_opened_together_when_too_much_lies_unread() -> None:
    """The requests of all but the first leave behind the moment at which their readers begin to wait."""

    async def scene() -> None:
        async with Stage(Limits()) as stage:
            stage.gate.set()
            container = await stage.engine("one", Limits(queued_bytes=100 * KB))
            unread = [container.stream("items", 3, 60 * KB) for _ in range(5)]
            for stream in unread:
                await stream.__aenter__()
            await asyncio.sleep(0.5)
            streams = [container.stream("items", 3, 20 * KB) for _ in range(5)]
            began = asyncio.get_running_loop().time()
            assert [len(item) for item in await asyncio.gather(*map(anext, streams))] == [20 * KB] * 5
            assert asyncio.get_running_loop().time() - began < 0.1, "in virtual time, which only round trips take"
            for stream in (*streams, *unread):
                await stream.aclose()

    run(scene())


def test_an_engine_that_does_not_tell_how_much_may_lie_unread_gets_what_its_credit_allows() -> None:
    async def scene() -> None:
        async with Stage(Limits()) as stage:
            stage.gate.set()
            container = await stage.engine("one", Limits(queued_bytes=100 * KB))
            assert stage.server._driver is not None
            (peer,) = stage.server._driver.sessions.all()
            peer.send_streams.accept({"stream_items": 100, "stream_bytes": 1 << 20, "batch_records": 100}, 100)
            streams = [container.stream("items", 3, 60 * KB) for _ in range(5)]
            for stream in streams:
                await stream.__aenter__()
            await asyncio.sleep(0.5)
            assert [stream._receive_stream.received for stream in streams] == [3] * 5

    run(scene())
