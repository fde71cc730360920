"""Who is told that engines come and go, and what of it can be asked."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ContainerServer,
    EngineInfo,
    EngineJoined,
    EngineLeft,
    current_request,
)
from tests.support.engine import EngineProcess
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from mpzmq.testing import ProxyFactory

Change = EngineJoined | EngineLeft


def told_to(server: ContainerServer) -> list[Change]:
    told: list[Change] = []
    server.on_engine_change(told.append)
    return told


def kinds(told: list[Change]) -> list[type[Change]]:
    return [type(event) for event in told]


async def test_an_engine_comes_and_goes() -> None:
    async with ContainerServer(heartbeat=QUICK) as server:
        told = told_to(server)
        assert server.engines() == ()
        endpoint = await server.bind("tcp://127.0.0.1:0")
        async with ComputerEngineWorker() as worker:
            await worker.connect(uuid.uuid4(), endpoint)
            await until(lambda: kinds(told) == [EngineJoined])
            (engine,) = server.engines()
            assert type(engine) is EngineInfo
            joined = told[0]
            assert (joined.session, joined.name, joined.user) == (engine.session, engine.name, None)
            assert joined.reason == "it has begun a session"
        await until(lambda: kinds(told) == [EngineJoined, EngineLeft])
        left = told[1]
        assert (left.session, left.name, left.user) == (joined.session, joined.name, None)
        assert left.reason == "the engine said GOODBYE"
        assert server.engines() == ()


async def test_an_engine_is_killed() -> None:
    async with ContainerServer(heartbeat=QUICK) as server:
        told = told_to(server)
        with EngineProcess(await server.bind("tcp://127.0.0.1:0")) as engine:
            await until(lambda: kinds(told) == [EngineJoined])
            await asyncio.to_thread(engine.kill)
            await until(lambda: kinds(told) == [EngineJoined, EngineLeft])
            assert told[1].reason == "its connection was lost"
            assert server.engines() == ()


async def test_an_engine_that_is_back_is_the_same(mpzmq_proxy: ProxyFactory) -> None:
    async with ContainerServer(heartbeat=QUICK) as server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        told = told_to(server)
        proxy = await mpzmq_proxy(await server.bind("tcp://127.0.0.1:0"))
        await worker.connect(uuid.uuid4(), proxy.endpoint)
        for _ in range(5):
            await proxy.cut()
            await until(lambda: not server.engines())
            proxy.restore()
            await until(server.engines)
        await until(lambda: kinds(told) == [EngineJoined, *[EngineLeft, EngineJoined] * 5])
        assert len({event.session for event in told}) == 1
        assert {event.reason for event in told[1:]} == {"its connection was lost", "it is back on a new connection"}


async def test_a_slow_handler_hears_how_they_stand(mpzmq_proxy: ProxyFactory) -> None:
    async with ContainerServer(heartbeat=QUICK) as server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        told: list[Change] = []
        turn = asyncio.Event()

        @server.on_engine_change
        async def slow(event: Change) -> None:
            told.append(event)
            await turn.wait()

        endpoint = await server.bind("tcp://127.0.0.1:0")
        proxy = await mpzmq_proxy(endpoint)
        await worker.connect(uuid.uuid4(), proxy.endpoint)
        await until(lambda: told)
        for _ in range(3):
            await proxy.cut()
            await until(lambda: not server.engines())
            proxy.restore()
            await until(server.engines)
        await proxy.cut()
        await until(lambda: not server.engines())
        async with ComputerEngineWorker() as passing:
            await passing.connect(uuid.uuid4(), endpoint)
        await until(lambda: not server.engines())
        turn.set()
        await until(lambda: len(told) == 2)
        assert kinds(told) == [EngineJoined, EngineLeft], "and nothing of the one that came and went meanwhile"
        assert told[0].session == told[1].session


@pytest.mark.parametrize("error", [ZeroDivisionError("odd"), SystemExit(3), asyncio.CancelledError("odd")])
@pytest.mark.parametrize("way", ["def", "async def"])
async def test_what_it_raises_is_logged(error: BaseException, way: str, caplog: pytest.LogCaptureFixture) -> None:
    async with ContainerServer(heartbeat=QUICK) as server, ComputerEngineWorker() as worker:
        server.function(len)

        def raises(event: Change) -> None:
            raise error

        async def raises_later(event: Change) -> None:
            await asyncio.sleep(0)
            raise error

        server.on_engine_change(raises if way == "def" else raises_later)
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        await until(lambda: "the handler of engine changes" in caplog.text)
        assert type(error).__name__ in caplog.text
        caplog.clear()
        assert await soon(container.call("len", "abc")) == 3
        await container.disconnect()
        await until(lambda: "EngineLeft" in caplog.text)


async def test_a_closing_server_has_no_engines_any_more() -> None:
    async with ComputerEngineWorker() as worker:
        async with ContainerServer(heartbeat=QUICK) as server:
            told = told_to(server)
            endpoint = await server.bind("tcp://127.0.0.1:0")
            for _ in range(2):
                await worker.connect(uuid.uuid4(), endpoint)
            await until(lambda: len(told) == 2)
        assert kinds(told) == [EngineJoined] * 2 + [EngineLeft] * 2
        assert told[-1].reason == "the container was closed"


async def test_a_handler_that_hangs_does_not_hold_a_close() -> None:
    cancelled: list[bool] = []
    async with ComputerEngineWorker() as worker, ContainerServer(heartbeat=QUICK) as server:

        @server.on_engine_change
        async def hangs(event: Change) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        await until(server.engines)
        await soon(server.close())
    assert cancelled == [True]


async def test_it_runs_in_a_context_of_its_own() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
    seen: list[Any] = []
    variable.set("of the bind")
    async with ContainerServer(heartbeat=QUICK) as server:

        @server.on_engine_change
        async def sets(event: Change) -> None:
            seen.append((variable.get(), current_request()))
            variable.set("of the handler")

        endpoint = await server.bind("tcp://127.0.0.1:0")
        async with ComputerEngineWorker() as worker:
            await worker.connect(uuid.uuid4(), endpoint)
        await until(lambda: len(seen) == 2)
    assert seen == [("of the bind", None)] * 2


async def test_engines_can_be_read_from_any_thread() -> None:
    async with ContainerServer(heartbeat=QUICK) as server:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        stop = threading.Event()
        faults: list[BaseException] = []

        def read() -> int:
            most = 0
            try:
                while not stop.is_set():
                    most = max(most, len(server.engines()))
            except BaseException as error:
                faults.append(error)
            return most

        reading = asyncio.gather(*(asyncio.to_thread(read) for _ in range(2)))
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for _ in range(5):
                async with ComputerEngineWorker() as worker:
                    for _ in range(10):
                        await worker.connect(uuid.uuid4(), endpoint)
        finally:
            sys.setswitchinterval(interval)
            stop.set()
        assert await soon(reading) == [10, 10]
        assert not faults


def test_there_is_one_handler() -> None:
    server = ContainerServer()
    assert server.on_engine_change(print) is print
    with pytest.raises(ValueError, match="one"):
        server.on_engine_change(print)
