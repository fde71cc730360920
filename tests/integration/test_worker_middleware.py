"""Middleware of a worker, around what it sends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid
import weakref
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    CallDetails,
    ComputerEngineWorker,
    ConnectionClosed,
    ContainerServer,
    Executed,
    GroupPolicy,
    Method,
    Overloaded,
    Params,
    Proceed,
    Refused,
    RemoteError,
    RequestContext,
    RequestTimeout,
    Status,
    Unsupported,
    blocking,
)
from mpzmq.handlers import middleware as chains
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import Callable

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

WAYS = ["request", "exchange", "call", "service", "view", "function", "stream", "upload", "channel", "group", "keyed"]


class Stage:
    """A server, and a worker that is not connected yet.

    Attributes:
        ended: the streams that have ended.
    """

    def __init__(self, server: ContainerServer, worker: ComputerEngineWorker, endpoint: str) -> None:
        self.server, self.worker, self.endpoint = server, worker, endpoint
        self.ran: list[Any] = []
        self.ended: list[str] = []
        self.seen: list[CallDetails] = []

        @server.on_invoke
        def invoke(value: Any, context: RequestContext) -> Any:
            return self.noted(value, context)

        @server.function
        def call(value: Any, context: RequestContext) -> Any:
            return self.noted(value, context)

        @server.function
        async def stream(value: Any, context: RequestContext) -> AsyncIterator[Any]:
            try:
                for _ in range(3):
                    yield self.noted(value, context)
                    await asyncio.sleep(0)
            finally:
                self.ended.append("stream")

        @server.function
        async def endless() -> AsyncIterator[int]:
            try:
                number = 0
                while True:
                    yield number
                    number += 1
            finally:
                self.ended.append("endless")

        @server.function
        async def upload(items: AsyncIterator[Any], value: Any, context: RequestContext) -> Any:
            return [self.noted(value, context), [item async for item in items]]

        @server.function
        async def channel(items: AsyncIterator[Any], value: Any, context: RequestContext) -> AsyncIterator[Any]:
            try:
                async for item in items:
                    yield [self.noted(value, context), item]
            finally:
                self.ended.append("channel")

        @server.function
        async def hangs() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.append("hangs")

    def noted(self, value: Any, context: RequestContext) -> Any:
        self.ran.append(value)
        return [value, dict(context.metadata)]

    def spy(self) -> None:
        """Registers a middleware that notes what it is given."""

        @self.worker.middleware
        async def notes(call: CallDetails, proceed: Proceed) -> Any:
            self.seen.append(call)
            return await proceed(call)

    async def ask(self, way: str, value: Any = "x", **options: Any) -> Any:
        """What the handler says: the value that it was given, and the metadata."""
        if way in ("group", "keyed"):
            async with self.worker.group([self.endpoint], name="troupe") as group:
                view = group.options(key="k" if way == "keyed" else None, **options)
                return await view.call("call", value)
        async with self.worker.connect(self.endpoint, name="stage") as container:
            asked = container.options(**options)
            service = self.worker.service()
            match way:
                case "request":
                    return await asked.request(value)
                case "exchange":
                    params = Params(uuid.uuid4(), Method.INVOKE, Status.RUNNING, value)
                    return (await service.exchange(params, container.remote_id, **options)).data
                case "service":
                    return await service.call(container.remote_id, "call", value, **options)
                case "view":
                    return await service.options(container.remote_id, **options).call("call", value)
                case "function":
                    return await container.function("call", **options)(value)
                case "stream":
                    items = [item async for item in asked.stream("stream", value)]
                    return items[-1]
                case "upload":
                    return (await asked.upload("upload", [1, 2], value))[0]
                case "channel":
                    async with asked.channel("channel", value) as channel:
                        await channel.send(1)
                        return (await anext(channel))[0]
            return await container.call("call", value, **options)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with ContainerServer(name="stage") as server, ComputerEngineWorker() as worker:
        yield Stage(server, worker, await server.bind("tcp://127.0.0.1:0"))


@pytest.mark.parametrize("way", WAYS)
async def test_middleware_stands_around_every_call_once(stage: Stage, way: str) -> None:
    stage.spy()
    assert await stage.ask(way, "x", metadata={"a": 1}) == ["x", {"a": 1}]
    (call,) = stage.seen
    ops = {"exchange": "request", "request": "request", "stream": "stream", "upload": "upload", "channel": "channel"}
    assert call.op == ops.get(way, "call")
    assert call.function == {"request": None, "stream": "stream", "upload": "upload", "channel": "channel"}.get(
        call.op, "call"
    )
    assert call.args == ("x",) and call.metadata == {"a": 1} and call.user is None
    assert call.peer == ("troupe" if way in ("group", "keyed") else "stage")
    assert (call.remote_id is None) == (way in ("group", "keyed"))
    assert (call.deadline is None) == (way in ("stream", "upload", "channel"))


@pytest.mark.parametrize("way", WAYS)
async def test_arguments_and_metadata_may_be_replaced(stage: Stage, way: str) -> None:
    @stage.worker.middleware
    async def replaces(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call.replace(args=["y"], metadata={**call.metadata, "b": 2}))

    assert await stage.ask(way, "x", metadata={"a": 1}) == ["y", {"a": 1, "b": 2}]


@pytest.mark.parametrize("way", WAYS)
async def test_it_may_answer_by_itself_and_nothing_is_sent(stage: Stage, way: str) -> None:
    async def items() -> AsyncIterator[Any]:
        yield ["cached"]

    @stage.worker.middleware
    async def answers(call: CallDetails, proceed: Proceed) -> Any:
        return items() if call.op == "stream" else items() if call.op == "channel" else ["cached"]

    if way == "channel":
        async with stage.worker.connect(stage.endpoint) as container, container.channel("channel", 1) as channel:
            with pytest.raises(ConnectionClosed) as caught:
                await channel.send(1)
            assert caught.value.executed is Executed.NO
            await channel.send_eof()
            assert [item async for item in channel] == [["cached"]]
    else:
        assert await stage.ask(way) == (["cached"] if way != "upload" else "cached")
    assert stage.ran == [] and stage.worker.statistics().issued == 0


@pytest.mark.parametrize("way", WAYS)
async def test_what_it_raises_the_caller_gets(stage: Stage, way: str) -> None:
    @stage.worker.middleware
    async def fails(call: CallDetails, proceed: Proceed) -> Any:
        raise LookupError("no token")

    with pytest.raises(LookupError, match="no token"):
        await stage.ask(way)
    assert stage.ran == []


@pytest.mark.parametrize("way", ["stream", "channel"])
async def test_items_may_be_wrapped(stage: Stage, way: str) -> None:
    @stage.worker.middleware
    async def wraps(call: CallDetails, proceed: Proceed) -> Any:
        items = await proceed(call)

        async def each() -> AsyncIterator[Any]:
            async for item in items:
                yield ["wrapped", item]

        return each()

    first = await stage.ask(way)
    assert "wrapped" in (first, first[0])
    await until(lambda: stage.ended == [way])


async def test_a_wrapped_stream_that_is_left_ends_its_function(stage: Stage) -> None:
    closed: list[str] = []

    @stage.worker.middleware
    async def wraps(call: CallDetails, proceed: Proceed) -> Any:
        items = await proceed(call)

        async def each() -> AsyncIterator[Any]:
            try:
                async for item in items:
                    yield item
            finally:
                closed.append("closed")

        return each()

    async with stage.worker.connect(stage.endpoint) as container:
        stream = container.stream("endless")
        assert await anext(stream) == 0 and stream.take_buffered() == []
        await stream.aclose()
        assert closed == ["closed"]
        await until(lambda: stage.ended == ["endless"])
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        async with container.stream("endless") as second:
            assert [await anext(second), await anext(second)] == [0, 1]
            with pytest.raises(RuntimeError):
                await second.__aenter__()
        await until(lambda: stage.ended == ["endless"] * 2)


@pytest.mark.parametrize("leaves", ["reader", "returns", "raises", "fails"])
async def test_wrapped_items_are_closed_by_who_reads_from_the_outermost_on(stage: Stage, leaves: str) -> None:
    closed: list[str] = []

    def wrapping(name: str) -> Any:
        async def wraps(call: CallDetails, proceed: Proceed) -> Any:
            items = await proceed(call)

            async def each() -> AsyncIterator[Any]:
                token = tenant.set(name)
                try:
                    async for item in items:
                        yield item
                        if name == "outer" and leaves == "returns":
                            return
                        if name == "outer" and leaves == "raises":
                            raise LookupError("enough")
                finally:
                    tenant.reset(token)  # in the context in which it was set, or it is a ValueError
                    closed.append(name)

            if name == "outer" and leaves == "fails":
                await anext(items)
                raise LookupError("enough")
            return each()

        return wraps

    for name in ("outer", "middle", "inner"):
        stage.worker.middleware(wrapping(name))
    async with stage.worker.connect(stage.endpoint) as container:
        with pytest.raises(LookupError) if leaves in ("raises", "fails") else contextlib.nullcontext():
            async with container.stream("endless") as stream:
                async for _ in stream:
                    if leaves == "reader":
                        break
        assert closed == ["outer", "middle", "inner"][leaves == "fails" :]
        await until(lambda: stage.ended == ["endless"])


async def test_a_stream_that_middleware_cuts_short_ends_its_function(stage: Stage) -> None:
    @stage.worker.middleware
    async def shortens(call: CallDetails, proceed: Proceed) -> Any:
        items = await proceed(call)

        async def first() -> AsyncIterator[Any]:
            yield await anext(items)

        return first()

    async with stage.worker.connect(stage.endpoint) as container:
        assert [item async for item in container.stream("endless")] == [0]
        await until(lambda: stage.ended == ["endless"])


async def test_a_stream_whose_middleware_fails_behind_proceed_ends_its_function(stage: Stage) -> None:
    @stage.worker.middleware
    async def fails(call: CallDetails, proceed: Proceed) -> Any:
        items = await proceed(call)
        await anext(items)
        raise LookupError("behind")

    async with stage.worker.connect(stage.endpoint) as container:
        with pytest.raises(LookupError):
            async for _ in container.stream("endless"):
                pass
        await until(lambda: stage.ended == ["endless"])


async def test_a_stream_needs_items(stage: Stage) -> None:
    @stage.worker.middleware
    async def confuses(call: CallDetails, proceed: Proceed) -> Any:
        await proceed(call)
        return 3

    with pytest.raises(TypeError, match="async iterator"):
        await stage.ask("stream")


async def test_one_task_reads_a_wrapped_stream(stage: Stage) -> None:
    stage.spy()
    async with stage.worker.connect(stage.endpoint) as container, container.channel("channel", 1) as channel:
        reading = asyncio.create_task(anext(channel))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(channel)
        await channel.send("late")
        assert (await reading)[1] == "late"


async def test_a_channel_hands_over_what_another_task_reads(stage: Stage) -> None:
    stage.spy()
    got: list[Any] = []
    async with stage.worker.connect(stage.endpoint) as container:

        async def read(channel: Any) -> None:
            got.extend([item[1] async for item in channel])

        async with container.channel("channel", 1) as channel:
            reading = asyncio.create_task(read(channel))
            for number in range(20):
                await channel.send(number)
        await reading
    # What has come by then: that the function is done with the data may be heard in front of what it yielded.
    assert got
    assert got == list(range(len(got)))


async def test_proceed_is_for_once_and_in_time(stage: Stage) -> None:
    kept: list[Any] = []

    @stage.worker.middleware
    async def twice(call: CallDetails, proceed: Proceed) -> Any:
        result = await proceed(call)
        with pytest.raises(RuntimeError, match="once"):
            await proceed(call)
        return result

    @stage.worker.middleware
    async def keeps(call: CallDetails, proceed: Proceed) -> Any:
        kept.append((call, proceed))
        return "kept"

    assert await stage.ask("call") == "kept"
    ((call, proceed),) = kept
    with pytest.raises(RuntimeError, match="too late"):
        await proceed(call)
    assert stage.ran == []


async def test_a_forgotten_await_is_named(stage: Stage) -> None:
    @stage.worker.middleware
    async def forgets(call: CallDetails, proceed: Proceed) -> Any:
        return proceed(call)

    with pytest.raises(TypeError, match="return await proceed"):
        await stage.ask("call")


async def test_a_call_ends_by_its_deadline_whatever_its_middleware_does(stage: Stage) -> None:
    @stage.worker.middleware
    async def hangs(call: CallDetails, proceed: Proceed) -> Any:
        if call.metadata.get("behind"):
            await proceed(call)
        await asyncio.Event().wait()

    async with stage.worker.connect(stage.endpoint) as container:
        with pytest.raises(RequestTimeout) as before:
            await container.call("call", 1, timeout=0.05)
        assert before.value.executed is Executed.NO and "middleware" in str(before.value)
        with pytest.raises(RequestTimeout) as behind:
            await container.call("call", 1, timeout=scaled(0.3), metadata={"behind": True})
        assert behind.value.executed is Executed.UNKNOWN
    assert stage.ran == [1]


async def test_what_a_middleware_leaves_behind_is_not_waited_for_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "LEFT_BEHIND_TIMEOUT", 0.05)
    left: list[asyncio.Task[Any]] = []
    begun, release = asyncio.Event(), asyncio.Event()

    @stage.server.function
    async def waits() -> None:
        begun.set()
        await asyncio.Event().wait()

    @stage.worker.middleware
    async def leaves(call: CallDetails, proceed: Proceed) -> Any:
        async def goes_on() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await proceed(call)
            await release.wait()

        left.append(asyncio.create_task(goes_on()))
        await begun.wait()
        return "left"

    async with stage.worker.connect(stage.endpoint) as container:
        assert await container.call("waits") == "left"
        assert not left[0].done()
        await until(lambda: stage.server.statistics().cancelled == 1)
    release.set()
    await left[0]


async def test_the_time_of_middleware_is_that_of_the_call(stage: Stage) -> None:
    seen: list[float] = []

    @stage.server.function
    def left(context: RequestContext) -> Any:
        return context.remaining()

    @stage.worker.middleware
    async def slow(call: CallDetails, proceed: Proceed) -> Any:
        await asyncio.sleep(0.2)
        assert call.deadline is not None
        seen.append(call.deadline - asyncio.get_running_loop().time())
        return await proceed(call)

    async with stage.worker.connect(stage.endpoint) as container:
        assert await container.call("left", timeout=scaled(10.0)) < scaled(10.0) - 0.15
        assert seen[0] < scaled(10.0) - 0.15


async def test_an_earlier_deadline_is_that_of_the_request(stage: Stage) -> None:
    @stage.worker.middleware
    async def hurries(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call.replace(deadline=asyncio.get_running_loop().time() + 0.05))

    async with stage.worker.connect(stage.endpoint) as container:
        with pytest.raises(RequestTimeout):
            await container.call("hangs", timeout=None)
        await until(lambda: stage.ended == ["hangs"])


async def test_a_caller_that_leaves_ends_the_handler_through_middleware(stage: Stage) -> None:
    stage.spy()
    async with stage.worker.connect(stage.endpoint) as container:
        call = asyncio.create_task(container.call("hangs"))
        await until(lambda: stage.server.statistics().in_flight == 1)
        call.cancel()
        await until(lambda: stage.ended == ["hangs"])
        assert call.cancelled()


async def test_a_call_that_middleware_leaves_behind_is_cancelled(stage: Stage) -> None:
    @stage.worker.middleware
    async def leaves(call: CallDetails, proceed: Proceed) -> Any:
        left.append(asyncio.ensure_future(proceed(call)))
        await until(lambda: stage.server.statistics().in_flight == 1)
        return "left"

    left: list[asyncio.Future[Any]] = []
    async with stage.worker.connect(stage.endpoint) as container:
        assert await container.call("hangs") == "left"
        assert left[0].cancelled()
        await until(lambda: stage.ended == ["hangs"])


async def test_a_context_variable_is_the_callers(stage: Stage) -> None:
    @stage.worker.middleware
    async def reads(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call.replace(metadata={"tenant": tenant.get()}))

    tenant.set("blue")
    assert await stage.ask("call") == ["x", {"tenant": "blue"}]


async def test_state_and_description_pass_no_middleware(stage: Stage) -> None:
    @stage.worker.middleware
    async def fails(call: CallDetails, proceed: Proceed) -> Any:
        raise LookupError("asked")

    async with stage.worker.connect(stage.endpoint) as container:
        service = stage.worker.service()
        assert (await service.describe(container.remote_id)).name == "stage"
        assert await container.get_state() is Status.RUNNING
        assert await container.request(None, method=Method.GETSTATE) is None
        assert await service.set_state(container.remote_id, Status.STOP) is Status.STOP
        params = Params(uuid.uuid4(), Method.GETSTATE, Status.RUNNING, None)
        assert (await service.exchange(params, container.remote_id)).status is Status.STOP


async def test_the_functions_of_the_worker_have_no_middleware(stage: Stage) -> None:
    stage.spy()

    @stage.worker.function
    def progress(share: float) -> str:
        return f"{share}"

    @stage.server.function
    async def works(context: RequestContext) -> Any:
        return await context.call("progress", 0.5)

    async with stage.worker.connect(stage.endpoint) as container:
        assert await container.call("works") == "0.5"
    assert [call.function for call in stage.seen] == ["works"]


async def test_a_fallback_belongs_to_its_call(stage: Stage) -> None:
    stage.spy()
    async with stage.worker.connect(stage.endpoint) as container:
        stage.server._registry.invoke = None
        with pytest.raises(Unsupported) as caught:
            await container.request("x", fallback="y")
        assert caught.value.fallback_sent
    assert len(stage.seen) == 1


async def test_a_plain_request_keeps_one_argument(stage: Stage) -> None:
    @stage.worker.middleware
    async def spoils(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call.replace(args=(1, 2)))

    for way in ("request", "exchange"):
        with pytest.raises(TypeError, match="one argument"):
            await stage.ask(way)


async def test_an_exchange_has_the_status_of_its_container(stage: Stage) -> None:
    stage.spy()
    async with stage.worker.connect(stage.endpoint) as container:
        params = Params(uuid.uuid4(), Method.INVOKE, Status.RUNNING, "x")
        reply = await stage.worker.service().exchange(params, container.remote_id)
    assert (reply.status, reply.data) == (Status.RUNNING, ["x", {}])
    assert stage.seen[0].request_id == params.id == reply.id


async def test_a_groups_tries_are_one_call(stage: Stage) -> None:
    stage.spy()
    refused: list[Any] = []

    async with ContainerServer(name="full") as full:

        @full.middleware
        async def refuses(call: CallDetails, proceed: Proceed) -> Any:
            refused.append(call)
            raise Overloaded("full")

        @full.function
        def call(value: Any) -> Any:
            raise AssertionError("it was refused")

        endpoints = [await full.bind("tcp://127.0.0.1:0"), stage.endpoint]
        async with stage.worker.group(endpoints, policy=GroupPolicy(pick="rotation")) as group:
            await group.wait_ready(2)
            for _ in range(4):
                assert await group.call("call", "x") == ["x", {}]
    assert refused
    assert len(stage.seen) == 4


async def test_each_member_that_everyone_is_asked_through_is_a_call(stage: Stage) -> None:
    @stage.worker.middleware
    async def replaces(call: CallDetails, proceed: Proceed) -> Any:
        stage.seen.append(call)
        return await proceed(call.replace(metadata={"to": call.peer}))

    async with ContainerServer() as other:
        second = Stage(other, stage.worker, await other.bind("tcp://127.0.0.1:0"))
        async with stage.worker.group([stage.endpoint, second.endpoint]) as group:
            await group.wait_ready(2)
            outcomes = await group.call_all("call", 1)
            told = sorted(value[1]["to"] for value in outcomes.results.values())
            assert told == sorted(member.name for member in group.members)
            async with group.map("call", [1, 2, 3]) as results:
                assert [result[0] async for result in results] == [1, 2, 3]
    assert len(stage.seen) == 5


async def test_it_is_registered_before_the_worker_connects(stage: Stage) -> None:
    stage.spy()
    async with stage.worker.connect(stage.endpoint):
        with pytest.raises(RuntimeError, match="before"):
            stage.spy()
    with pytest.raises(TypeError, match="async def"):
        ComputerEngineWorker().middleware(print)  # type: ignore[type-var]


@pytest.mark.parametrize("opens", [blocking.connect, lambda endpoint, **given: blocking.group([endpoint], **given)])
async def test_blocking_handles_have_middleware(stage: Stage, opens: Callable[..., Any]) -> None:
    async def adds(call: CallDetails, proceed: Proceed) -> Any:
        result = await proceed(call.replace(metadata={"added": True}))

        async def each() -> AsyncIterator[Any]:
            async for item in result:
                yield item

        return each() if call.op == "stream" else result

    def ask() -> Any:
        with opens(stage.endpoint, middleware=[adds]) as container:
            return [
                container.call("call", "x"),
                *container.stream("stream", "y"),
                container.upload("upload", [1], "z"),
            ]

    told = await asyncio.to_thread(ask)
    assert told == [["x", {"added": True}], *[["y", {"added": True}]] * 3, [["z", {"added": True}], [1]]]


async def test_errors_pass_as_they_are(stage: Stage) -> None:
    stage.spy()

    @stage.server.function
    def refuses() -> None:
        raise Refused("no")

    @stage.server.function
    def fails() -> None:
        raise KeyError("lost")

    async with stage.worker.connect(stage.endpoint, name="stage") as container:
        with pytest.raises(Refused) as refused:
            await container.call("refuses")
        with pytest.raises(RemoteError) as failed:
            await container.call("fails")
    assert refused.value.name == "stage" and failed.value.error_type == "KeyError"


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_keeps_proceed_keeps_no_argument(stage: Stage, way: str) -> None:
    class Data(bytearray):
        """An argument that tells when it is gone."""

    kept: list[Proceed] = []
    held: list[weakref.ref[Data]] = []

    @stage.worker.middleware
    async def keeps(call: CallDetails, proceed: Proceed) -> Any:
        kept.append(proceed)
        return await proceed(call)

    async def ask() -> None:
        data = Data(10)
        held.append(weakref.ref(data))
        await stage.ask(way, data)

    gc.collect()
    gc.disable()
    try:
        await asyncio.create_task(ask())
        await until(lambda: held[0]() is None)
    finally:
        gc.enable()
    assert len(kept) == 1
