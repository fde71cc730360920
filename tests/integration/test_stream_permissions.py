"""Allow-lists and lifespan: streams, uploads and channels are asked for by the names of their functions."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ContainerServer,
    Executed,
    Limits,
    NotPermitted,
    Overloaded,
    RequestContext,
    Security,
    current_request,
    keys,
)
from tests.support.scene import REDIAL
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def test_permissions_are_those_of_the_functions() -> None:
    there, here = keys.generate(), keys.generate()
    table = {"engine": {"public-key": here.public, "allow": ["climb", "add_up", "echo"]}}
    server = ContainerServer(security=Security.server(there, allow=table))

    @server.function
    async def climb(number: int) -> AsyncIterator[Any]:
        for index in range(number):
            request = current_request()
            yield index, request and request.user

    @server.function
    async def add_up(items: AsyncIterator[int], context: RequestContext) -> Any:
        return context.user, sum([item async for item in items])

    @server.function
    async def echo(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in items:
            yield item

    for handler in (climb, add_up, echo):
        server.function(handler, name=f"secret_{handler.__name__}")
    security = Security.client(here, there.public)
    async with server, ComputerEngineWorker(reconnect=REDIAL, security=security) as worker:
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        assert [item async for item in container.stream("climb", 2)] == [[0, "engine"], [1, "engine"]]
        assert await container.upload("add_up", [1, 2]) == ["engine", 3]
        async with container.channel("echo") as channel:
            await channel.send(1)
            assert await soon(anext(channel)) == 1
        ways = (
            anext(container.stream("secret_climb", 2)),
            container.upload("secret_add_up", [1]),
            anext(container.channel("secret_echo")),
        )
        for way in ways:
            with pytest.raises(NotPermitted) as denied:
                await soon(way)
            assert denied.value.executed is Executed.NO


async def test_generators_take_turns_and_know_the_lifespan() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_: ContainerServer) -> AsyncIterator[str]:
        yield "the state"

    server = ContainerServer(lifespan=lifespan)
    most = at_once = 0

    @server.function(max_concurrency=2)
    async def turns(context: RequestContext, number: int) -> AsyncIterator[Any]:
        nonlocal most, at_once
        at_once += 1
        most = max(most, at_once)
        try:
            for _ in range(number):
                await asyncio.sleep(0)
                yield context.state
        finally:
            at_once -= 1

    async def everything(stream: AsyncIterator[Any]) -> list[Any]:
        return [item async for item in stream]

    async with server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        streams = [container.stream("turns", 5) for _ in range(10)]
        assert await soon(asyncio.gather(*map(everything, streams))) == [["the state"] * 5] * 10
        assert most == 2 and at_once == 0
        with pytest.raises(TypeError, match="thread"):
            server.function(turns, name="threaded", thread=True)


async def test_a_burst_of_uploads_is_within_the_memory() -> None:
    server = ContainerServer(limits=Limits(message_bytes=1 << 15, queued_bytes=1 << 16))

    @server.function(max_concurrency=1)
    async def add_up(items: AsyncIterator[int]) -> int:
        return sum([item async for item in items])

    async with server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        uploads = [container.upload("add_up", range(100)) for _ in range(50)]
        found = await soon(asyncio.gather(*uploads, return_exceptions=True))
        assert found.count(4950) >= 4
        assert all(one == 4950 or isinstance(one, Overloaded) for one in found)
