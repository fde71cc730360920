"""What becomes of streams, uploads and channels when their connection is lost: real sockets, real deaths."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ConnectionClosed,
    ConnectionLost,
    ContainerServer,
    Executed,
    RequestCancelled,
    StreamProgress,
)
from mpzmq.testing import ContainerProcess
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mpzmq.testing import Proxy, ProxyFactory


@dataclass
class Stage:
    """A container behind a proxy, and what its functions have done."""

    server: ContainerServer
    proxy: Proxy
    worker: ComputerEngineWorker
    container: ComputerEngineWriter
    begun: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)
    losses: list[StreamProgress | None] = field(default_factory=list)


@pytest.fixture
async def stage(mpzmq_proxy: ProxyFactory, orphan_after: float) -> AsyncIterator[Stage]:
    server = ContainerServer(name="stage", heartbeat=QUICK, orphan_after=orphan_after)
    async with server, ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        proxy = await mpzmq_proxy(await server.bind("tcp://127.0.0.1:0"))
        container = await worker.connect(uuid.uuid4(), proxy.endpoint, name="stage")
        made = Stage(server, proxy, worker, container)

        @server.function
        async def count(to: int, then_wait: bool = False) -> AsyncIterator[int]:
            made.begun.append("count")
            try:
                for number in range(to):
                    yield number
                    if number % 10 == 0:
                        await asyncio.sleep(0)
                if then_wait:
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                made.cancelled.append("count")
                raise

        async def take(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
            made.begun.append("take")
            try:
                async for item in items:
                    made.given.append(item)
                    yield item
            except ConnectionLost as error:
                assert error.executed is Executed.YES
                made.losses.append(error.progress)
                raise

        @server.function
        async def store(items: AsyncIterator[Any]) -> int:
            return len([item async for item in take(items)])

        server.function(take, name="chat")
        yield made


@pytest.mark.parametrize("losses", [(0,), (1, 1500, 2999), tuple(range(50, 1000, 50))])
async def test_a_stream_goes_on_where_it_was(stage: Stage, losses: tuple[int, ...]) -> None:
    seen: list[int] = []
    async for number in stage.container.stream("count", 3000):
        seen.append(number)
        if number in losses:
            await stage.proxy.reset()
    assert seen == list(range(3000)), "none is lost, none comes twice, and they keep their order"
    assert stage.begun == ["count"]
    counted = stage.container.statistics()
    assert (counted.issued, counted.replied) == (1, 1)
    assert adds_up(counted)


async def broken(stage: Stage, way: str) -> ConnectionLost:
    """The error of an upload or a channel whose connection breaks when three items have been given."""

    async def items() -> AsyncIterator[str]:
        for item in "abc":
            yield item
        await until(lambda: len(stage.given) == 3)
        await stage.proxy.reset()
        await asyncio.Event().wait()

    with pytest.raises(ConnectionLost) as lost:
        if way == "upload":
            await soon(stage.container.upload("store", items()))
        else:
            async with stage.container.channel("chat") as channel:
                for item in "abc":
                    await channel.send(item)
                    assert await anext(channel) == item
                await stage.proxy.reset()
                with pytest.raises(ConnectionLost):
                    await soon(anext(channel))
                await channel.send("d")
    return lost.value


@pytest.mark.parametrize("way", ["upload", "channel"])
async def test_data_does_not_go_on(stage: Stage, way: str) -> None:
    error = await broken(stage, way)
    assert not isinstance(error, ConnectionClosed)
    assert error.progress is not None
    assert (error.progress.sent, error.progress.received) == (3, 3 if way == "channel" else 0)
    assert error.executed in ((Executed.YES,) if way == "channel" else (Executed.YES, Executed.UNKNOWN))
    await until(lambda: stage.losses == [StreamProgress(received=3)])
    assert stage.given == list("abc")
    # The link is as good as before.
    assert await soon(stage.container.upload("store", ["x"])) == 1
    assert adds_up(stage.container.statistics())


@pytest.mark.parametrize("orphan_after", [0.3])
async def test_a_stream_of_an_engine_that_stays_away_is_ended(stage: Stage) -> None:
    stream = stage.container.stream("count", 3, then_wait=True)
    assert [await soon(anext(stream)) for _ in range(3)] == [0, 1, 2]
    await stage.proxy.cut()
    await until(lambda: stage.cancelled == ["count"])
    await until(lambda: stage.server.statistics().in_flight == 0)
    stage.proxy.restore()
    with pytest.raises(RequestCancelled) as ended:
        await soon(anext(stream))
    assert ended.value.executed is Executed.YES
    assert stage.begun == ["count"], "it must not begin again"


SERVED = """
import asyncio
from collections.abc import AsyncIterator
from mpzmq import ContainerServer

server = ContainerServer()

@server.function
async def count():
    yield 1
    await asyncio.Event().wait()

@server.function
async def chat(items: AsyncIterator[int]):
    async for item in items:
        yield item
"""


async def test_a_restart_ends_them_all(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    with ContainerProcess("served:server", folder=tmp_path) as process:
        async with ComputerEngineWorker(reconnect=REDIAL) as worker:
            container = await worker.connect(uuid.uuid4(), process.endpoint)
            stream = container.stream("count")
            assert await soon(anext(stream)) == 1
            async with container.channel("chat") as channel:
                await channel.send(2)
                assert await soon(anext(channel)) == 2
                process.kill()
                with pytest.raises(ConnectionLost) as broken:
                    await soon(anext(channel))
            assert broken.value.progress is not None
            assert (broken.value.progress.sent, broken.value.progress.received) == (1, 1)
            await asyncio.to_thread(process.restart)
            with pytest.raises(ConnectionLost) as lost:
                await soon(anext(stream))
    assert (lost.value.instance_changed, lost.value.executed) == (True, Executed.YES)
    assert lost.value.progress == StreamProgress(received=1)
