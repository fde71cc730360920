"""Metadata that calls made inside a handler carry on: `ContainerServer(propagate=...)`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    CallDetails,
    ComputerEngineWorker,
    ContainerServer,
    Proceed,
    RequestContext,
    blocking,
    current_request,
    detached,
)

if TYPE_CHECKING:
    from mpzmq import ComputerEngineWriter

SENT = {"traceparent": "00-1", "tenant": "blue", "secret": "s"}
CARRIED = {"traceparent": "00-1", "tenant": "blue"}


class Stage:
    """A container in front, which asks another one, and the engine."""

    def __init__(self, front: ContainerServer, back: ContainerServer, worker: ComputerEngineWorker) -> None:
        self.front, self.back, self.worker = front, back, worker
        self.container: ComputerEngineWriter

        @back.function
        def told(context: RequestContext) -> Any:
            return dict(context.metadata)

        @back.function
        async def items(context: RequestContext) -> AsyncIterator[Any]:
            yield dict(context.metadata)

        @worker.function
        def of_the_engine(context: RequestContext) -> Any:
            return dict(context.metadata)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    front = ContainerServer(propagate=("traceparent", "tenant"))
    async with front, ContainerServer() as back, ComputerEngineWorker() as worker, ComputerEngineWorker() as inside:
        made = Stage(front, back, worker)
        endpoint = await back.bind("tcp://127.0.0.1:0")
        behind = await inside.connect(endpoint)

        @front.function
        async def call(**metadata: Any) -> Any:
            return await behind.options(metadata=metadata or None).call("told")

        @front.function
        async def stream() -> Any:
            return [item async for item in behind.stream("items")][0]  # noqa: RUF015  (it is an async one)

        @front.function
        async def group() -> Any:
            async with inside.group([endpoint]) as group:
                return await group.call("told")

        @front.function
        async def apart() -> Any:
            with detached():
                return await behind.call("told")

        @front.function
        async def in_a_task() -> Any:
            return await asyncio.create_task(behind.call("told"))

        @front.function
        async def engine(context: RequestContext) -> Any:
            return await context.call("of_the_engine")

        @front.function(thread=True)
        def thread() -> Any:
            with blocking.connect(endpoint) as container:
                return container.call("told")

        @front.on_invoke
        async def invoke(data: Any) -> Any:
            return await behind.call("told")

        made.container = await worker.connect(await front.bind("tcp://127.0.0.1:0"))
        yield made


@pytest.mark.parametrize("way", ["call", "stream", "group", "in_a_task", "engine", "thread"])
async def test_calls_made_inside_a_handler_carry_it_on(stage: Stage, way: str) -> None:
    assert await stage.container.call(way, metadata=SENT) == CARRIED
    assert await stage.container.call(way) == {}


async def test_so_do_those_of_the_handler_for_plain_requests(stage: Stage) -> None:
    assert await stage.container.request(None, metadata=SENT) == CARRIED


async def test_what_a_call_sends_along_itself_goes_first(stage: Stage) -> None:
    told = await stage.container.options(metadata=SENT).call("call", tenant="red", more=1)
    assert told == {"traceparent": "00-1", "tenant": "red", "more": 1}


async def test_what_is_detached_carries_nothing(stage: Stage) -> None:
    assert await stage.container.call("apart", metadata=SENT) == {}


async def test_middleware_has_the_last_word(stage: Stage) -> None:
    @stage.front.middleware
    async def starts(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call.replace(metadata={**call.metadata, "traceparent": "00-2"}))

    assert await stage.container.call("call", metadata=SENT) == {**CARRIED, "traceparent": "00-2"}


async def test_the_middleware_of_a_worker_sees_it() -> None:
    seen: list[dict[str, Any]] = []

    async with ContainerServer(propagate=("trace",)) as server, ComputerEngineWorker() as worker:

        @worker.middleware
        async def notes(call: CallDetails, proceed: Proceed) -> Any:
            seen.append(dict(call.metadata))
            return await proceed(call)

        @server.function
        async def asks() -> Any:
            context = current_request()
            assert context is not None
            return await container.call("told", metadata={"more": 1})

        @server.function
        async def told(context: RequestContext) -> Any:
            return dict(context.metadata)

        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        assert await container.call("asks", metadata={"trace": "a", "b": 2}) == {"trace": "a", "more": 1}
    assert seen == [{"trace": "a", "b": 2}, {"trace": "a", "more": 1}]


@pytest.mark.parametrize("given", ["traceparent", b"trace", (1,), (None,)])
def test_what_cannot_be_carried_on(given: Any) -> None:
    with pytest.raises(TypeError, match="tuple of str"):
        ContainerServer(propagate=given)


def test_keys_are_added_once_and_middleware_is_told_in_order() -> None:
    async def outer(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call)

    async def inner(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call)

    for target in (ContainerServer(propagate=("a",)), ComputerEngineWorker()):
        target.middleware(outer)
        target.middleware(inner)
        assert target.registered_middleware == (outer, inner)
        target.propagate("a", "b")
        target.propagate("b")
        assert target._registry.pipeline.propagate == ("a", "b")
        with pytest.raises(TypeError, match="takes str"):
            target.propagate(1)  # type: ignore[arg-type]
