"""What has ended holds nothing: no argument waits for the cyclic garbage collector, on either side."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
import uuid
import weakref
from collections.abc import AsyncIterator, Iterator  # noqa: TC003  (a function is asked for what takes a stream)
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from mpzmq import (
    CallDetails,
    ComputerEngineWorker,
    ComputerEngineWriter,
    ContainerServer,
    Depends,
    GroupPolicy,
    Limits,
    MpzmqError,
    Proceed,
    Refused,
    RemoteError,
    RequestContext,
    RequestTimeout,
    Status,
)
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mpzmq.testing import Proxy, ProxyFactory

    Ticket = Callable[["Stage", "Data"], Coroutine[Any, Any, None]]


class Data(bytearray):
    """An argument that tells when it is gone."""


class Unfit:
    """No message can carry it."""


@dataclass
class Stage:
    """A container behind a proxy, and its engine.

    Attributes:
        taken: what handlers got.
        gate: what some of them wait for.
        began: how many have begun to wait.
    """

    server: ContainerServer
    proxy: Proxy
    worker: ComputerEngineWorker
    container: ComputerEngineWriter
    taken: list[weakref.ref[Any]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    began: int = 0

    def alive(self) -> int:
        """How many of the arguments that handlers got are still there."""
        return sum(one() is not None for one in self.taken)


def _breaks_below() -> Iterator[None]:
    yield
    raise RuntimeError("the end of a dependency")


def _breaks(below: Annotated[None, Depends(_breaks_below)]) -> Iterator[None]:
    """It swallows the handler's error; what it needs raises another one then."""
    with contextlib.suppress(LookupError):
        yield


def _functions(stage: Stage) -> None:
    server, worker = stage.server, stage.worker

    def note(data: Any) -> None:
        if isinstance(data, memoryview):
            stage.taken.append(weakref.ref(data))

    def boom(data: Any) -> None:
        note(data)
        raise LookupError("boom")

    async def boom_later(data: Any) -> None:
        await asyncio.sleep(0)
        boom(data)

    def hoard(data: Any) -> None:
        """Its own frame holds what it raises, which holds the frame."""
        note(data)
        found = None
        try:
            raise LookupError("hoarded")
        except LookupError as error:
            found = error
        raise RuntimeError("after") from found

    def refuse(data: Any) -> None:
        note(data)
        raise Refused("no")

    def remote(data: Any) -> None:
        note(data)
        raise RemoteError("declined", code="x", data={"seen": bytes(data)})

    def unfit(data: Any) -> Any:
        note(data)
        return [data, Unfit()]

    def unfit_text(data: Any) -> Any:
        note(data)
        return ["a lone surrogate: \udcff"]

    def after_a_dependency(data: Any, broken: Annotated[None, Depends(_breaks)]) -> None:
        note(data)
        raise LookupError("swallowed")

    async def wait(data: Any) -> None:
        note(data)
        stage.began += 1
        await stage.gate.wait()

    def block(data: Any, context: RequestContext) -> None:
        note(data)
        stage.began += 1
        while not context.cancelled:
            time.sleep(0.005)

    for function in boom, boom_later, hoard, refuse, remote, unfit, unfit_text, after_a_dependency, wait:
        server.function(function)
    for function in boom, unfit, unfit_text, hoard:
        server.function(function, name=f"{function.__name__}_in_a_thread", thread=True)
        server.function(function, name=f"{function.__name__}_one_by_one", max_concurrency=1)
        worker.function(function)
    worker.function(boom_later)
    worker.function(wait)
    server.function(block, thread=True)
    server.function(wait, name="wait_one_by_one", max_concurrency=1)

    @server.function
    async def calls(data: Any, context: RequestContext, function: str, **options: Any) -> Any:
        note(data)
        return await context.call(function, data, **options)

    @server.function
    async def stream(data: Any, then: str) -> AsyncIterator[int]:
        note(data)
        yield 1
        await _then(stage, then)

    @server.function
    async def ponders(data: Any) -> AsyncIterator[int]:
        note(data)
        await stage.gate.wait()
        yield 1

    @server.function
    async def upload(items: AsyncIterator[Any], data: Any, then: str) -> int:
        note(data)
        note(await anext(aiter(items)))
        await _then(stage, then)
        return len([item async for item in items])

    @server.function
    async def channel(items: AsyncIterator[Any], data: Any, then: str) -> AsyncIterator[int]:
        note(data)
        note(await anext(aiter(items)))
        yield 1
        await _then(stage, then)
        async for _ in items:
            yield 2


async def _then(stage: Stage, then: str) -> None:
    if then == "raise":
        raise LookupError("then")
    if then == "wait":
        stage.began += 1
        await stage.gate.wait()


@pytest.fixture
async def stage(mpzmq_proxy: ProxyFactory) -> AsyncIterator[Stage]:
    server = ContainerServer(heartbeat=QUICK, limits=Limits(in_flight=8))
    async with server, ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        proxy = await mpzmq_proxy(await server.bind("tcp://127.0.0.1:0"))
        container = await worker.connect(uuid.uuid4(), proxy.endpoint, name="stage")
        made = Stage(server, proxy, worker, container)
        _functions(made)
        yield made
        made.gate.set()


@pytest.fixture(autouse=True)
def without_a_collector() -> Iterator[None]:
    """Records of the log hold tracebacks; pytest keeps them."""
    logging.disable()
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


def _call(function: str, *args: Any, **options: Any) -> Ticket:
    async def way(stage: Stage, data: Data) -> None:
        await stage.container.call(function, data, *args, **options)

    return way


async def _cancelled(stage: Stage, work: Coroutine[Any, Any, Any]) -> None:
    began = stage.began
    task = asyncio.create_task(work)
    await until(lambda: stage.began > began)
    task.cancel()
    try:
        await task
    finally:
        del task  # which keeps the error that keeps this frame


async def _lost(stage: Stage, work: Coroutine[Any, Any, Any], lose: Callable[[], Any]) -> None:
    began = stage.began
    task = asyncio.create_task(work)
    await until(lambda: stage.began > began)
    try:
        await lose()
        await task
    finally:
        del task  # which keeps the error that keeps this frame


async def cancelled(stage: Stage, data: Data) -> None:
    await _cancelled(stage, stage.container.call("wait", data))


async def cancelled_in_a_thread(stage: Stage, data: Data) -> None:
    await _cancelled(stage, stage.container.call("block", data))


async def closed(stage: Stage, data: Data) -> None:
    await _lost(stage, stage.container.call("wait", data), stage.container.disconnect)


async def container_closed(stage: Stage, data: Data) -> None:
    await _lost(stage, stage.container.call("wait", data), stage.server.close)


async def cancelled_at_a_gate(stage: Stage, data: Data) -> None:
    first = asyncio.create_task(stage.container.call("wait_one_by_one", 1))
    await until(lambda: stage.began)
    try:
        await stage.container.call("wait_one_by_one", data, timeout=0.1)
    finally:
        first.cancel()


async def stopped(stage: Stage, data: Data) -> None:
    await stage.container.set_state(Status.STOP)
    await stage.container.call("boom", data)


async def overloaded(stage: Stage, data: Data) -> None:
    tasks = [asyncio.create_task(stage.container.call("wait", 1)) for _ in range(8)]
    await until(lambda: stage.began == 8)
    try:
        await stage.container.call("wait", data)
    finally:
        for task in tasks:
            task.cancel()


async def unknown_container(stage: Stage, data: Data) -> None:
    await stage.worker.service().call(uuid.uuid4(), "boom", data)


async def not_connected(stage: Stage, data: Data) -> None:
    handle = await stage.worker.connect(uuid.uuid4(), "127.0.0.1:1", wait=False)
    await handle.call("boom", data, wait=False)


async def never_left(stage: Stage, data: Data) -> None:
    handle = await stage.worker.connect(uuid.uuid4(), "127.0.0.1:1", wait=False)
    await handle.call("boom", data, timeout=0.1)


async def unfit_argument(stage: Stage, data: Data) -> None:
    await stage.container.call("boom", data, Unfit())


async def unfit_text_argument(stage: Stage, data: Data) -> None:
    await stage.container.call("boom", data, "a lone surrogate: \udcff")


async def no_room(stage: Stage, data: Data) -> None:
    async with ComputerEngineWorker(limits=Limits(in_flight=1)) as worker:
        handle = await worker.connect(uuid.uuid4(), stage.proxy.endpoint)
        first = asyncio.create_task(handle.call("wait", 1))
        await until(lambda: stage.began)
        try:
            await handle.call("boom", data, timeout=0.1)
        finally:
            first.cancel()


async def no_room_and_cancelled(stage: Stage, data: Data) -> None:
    async with ComputerEngineWorker(limits=Limits(in_flight=1)) as worker:
        handle = await worker.connect(uuid.uuid4(), stage.proxy.endpoint)
        first = asyncio.create_task(handle.call("wait", 1))
        await until(lambda: stage.began)
        second = asyncio.create_task(handle.call("boom", data))
        await until(lambda: handle._connection.queue.waiting)
        second.cancel()
        try:
            await second
        finally:
            first.cancel()
            del second


async def too_large(stage: Stage, data: Data) -> None:
    async with ComputerEngineWorker(limits=Limits(message_bytes=4096)) as worker:
        handle = await worker.connect(uuid.uuid4(), stage.proxy.endpoint)
        await handle.call("boom", data, bytes(5000))


async def used_id(stage: Stage, data: Data) -> None:
    chosen = uuid.uuid4()
    with contextlib.suppress(RemoteError):
        await stage.container.call("boom", 1, request_id=chosen)
    await stage.container.call("boom", data, request_id=chosen)


async def fallback_failed(stage: Stage, data: Data) -> None:
    await stage.container.request(data, fallback=[data])


async def reading(stage: Stage, data: Data, then: str, **options: Any) -> None:
    async for _ in stage.container.stream("stream", data, then, **options):
        pass


async def stream_left(stage: Stage, data: Data) -> None:
    async with stage.container.stream("stream", data, "wait") as stream:
        await anext(stream)
        await until(lambda: stage.began)


async def stream_cancelled(stage: Stage, data: Data) -> None:
    await _cancelled(stage, reading(stage, data, "wait"))


async def stream_closed(stage: Stage, data: Data) -> None:
    await _lost(stage, reading(stage, data, "wait"), stage.container.disconnect)


async def uploading(stage: Stage, data: Data, then: str, **options: Any) -> None:
    async def items() -> AsyncIterator[Any]:
        yield data
        if then == "source":
            raise LookupError("source")
        yield data

    await stage.container.upload("upload", items(), data, then, **options)


async def upload_cancelled(stage: Stage, data: Data) -> None:
    await _cancelled(stage, uploading(stage, data, "wait"))


async def upload_lost(stage: Stage, data: Data) -> None:
    await _lost(stage, uploading(stage, data, "wait"), stage.proxy.reset)


async def talking(stage: Stage, data: Data, then: str, **options: Any) -> None:
    async with stage.container.channel("channel", data, then, **options) as channel:
        await channel.send(data)
        await anext(channel)
        await anext(channel)


async def channel_ended(stage: Stage, data: Data) -> None:
    async with stage.container.channel("channel", data, "raise") as channel:
        await channel.send(data)
        with contextlib.suppress(RemoteError):
            [item async for item in channel]
        for _ in range(3):
            with contextlib.suppress(RemoteError):
                await channel.send(data)
        await channel.send(data)


async def channel_lost(stage: Stage, data: Data) -> None:
    await _lost(stage, talking(stage, data, "wait"), stage.proxy.reset)


async def channel_cancelled(stage: Stage, data: Data) -> None:
    await _cancelled(stage, talking(stage, data, "wait"))


def _nested(function: str, **options: Any) -> Ticket:
    async def way(stage: Stage, data: Data) -> None:
        await stage.container.call("calls", data, function=function, **options)

    return way


async def nested_cancelled(stage: Stage, data: Data) -> None:
    await _cancelled(stage, stage.container.call("calls", data, function="wait"))


CALLS = [
    *("boom", "boom_later", "hoard", "refuse", "remote", "unfit", "unfit_text", "no_such_function"),
    "after_a_dependency",
    *(f"{name}_{how}" for name in ("boom", "unfit", "unfit_text", "hoard") for how in ("in_a_thread", "one_by_one")),
]
WAYS: dict[str, Ticket] = {
    **{name: _call(name) for name in CALLS},
    "wrong arguments": _call("boom", 2, 3),
    "timed out": _call("wait", timeout=0.1),
    "timed out in a thread": _call("block", timeout=0.1),
    "timed out at once": _call("boom", timeout=0),
    "stream raises": lambda stage, data: reading(stage, data, "raise"),
    "stream timed out": lambda stage, data: reading(stage, data, "wait", timeout=0.1),
    "stream idle": lambda stage, data: reading(stage, data, "wait", idle_timeout=0.1),
    "upload raises": lambda stage, data: uploading(stage, data, "raise"),
    "upload's source raises": lambda stage, data: uploading(stage, data, "source"),
    "upload timed out": lambda stage, data: uploading(stage, data, "wait", timeout=0.1),
    "channel raises": lambda stage, data: talking(stage, data, "raise"),
    "channel timed out": lambda stage, data: talking(stage, data, "wait", timeout=0.1),
    "channel idle": lambda stage, data: talking(stage, data, "wait", idle_timeout=0.1),
    **{f"nested {name}": _nested(name) for name in ("boom", "boom_later", "hoard", "unfit", "no_such_function")},
    "nested timed out": _nested("wait", timeout=0.1),
    **{
        way.__name__: way
        for way in (
            *(cancelled, cancelled_in_a_thread, closed, container_closed, cancelled_at_a_gate, stopped, overloaded),
            *(
                unknown_container,
                not_connected,
                never_left,
                unfit_argument,
                unfit_text_argument,
                no_room,
                no_room_and_cancelled,
                too_large,
            ),
            *(used_id, fallback_failed, stream_left, stream_cancelled, stream_closed, upload_cancelled, upload_lost),
            *(channel_ended, channel_lost, channel_cancelled, nested_cancelled),
        )
    },
}
HARMLESS = {"stream_left"}

work: ContextVar[Any] = ContextVar("work")


@pytest.mark.parametrize("name", WAYS)
async def test_a_failed_request_holds_none_of_its_arguments(stage: Stage, name: str) -> None:
    held: list[weakref.ref[Data]] = []

    async def fail() -> bool:
        data = Data(b"x" * 100)
        held.append(weakref.ref(data))
        try:
            await WAYS[name](stage, data)
        except (MpzmqError, ValueError, LookupError, asyncio.CancelledError):
            return True
        return False

    assert await soon(asyncio.create_task(fail())) is (name not in HARMLESS)
    await until(lambda: not (stage.alive() or held[0]() is not None), 3.0)


@pytest.mark.parametrize("way", ["link", "group", "stream", "group's stream", "middleware", "refused by middleware"])
async def test_a_task_that_ends_with_an_error_holds_none_of_its_arguments(stage: Stage, way: str) -> None:
    """A ``Timeout`` holds its task, and the traceback of its error holds the Timeout."""
    held: list[weakref.ref[Data]] = []

    async def hangs(call: CallDetails, proceed: Proceed) -> Any:
        if way == "refused by middleware":
            raise LookupError("no")
        await asyncio.Event().wait()

    async def ask(asked: Any) -> None:
        data = Data(b"x" * 100)
        held.append(weakref.ref(data))
        if way.endswith("stream"):
            task = asyncio.create_task(anext(asked.stream("ponders", data, idle_timeout=0.1)))
        else:
            task = asyncio.create_task(asked.call("boom", data, timeout=0.1))
        await asyncio.wait([task])
        assert type(task.exception()) is (LookupError if way == "refused by middleware" else RequestTimeout)

    async with ComputerEngineWorker(limits=Limits(in_flight=1)) as worker:
        if way.endswith("middleware"):
            worker.middleware(hangs)
        if way.startswith("group"):
            asked: Any = await worker.group([stage.proxy.endpoint], policy=GroupPolicy(max_in_flight=1))
        else:
            asked = await worker.connect(uuid.uuid4(), stage.proxy.endpoint)
        first = None
        if way in ("link", "group"):
            first = asyncio.create_task(asked.call("wait", 1))
            await until(lambda: stage.began)
        await ask(asked)
        await until(lambda: not (stage.alive() or held[0]() is not None), 3.0)
        if first is not None:
            first.cancel()


@pytest.mark.parametrize("form", ["plain", "later", "threaded", "narrow", "in the caller"])
async def test_a_request_that_has_ended_holds_nothing_of_its_context(stage: Stage, form: str) -> None:
    """Timers that outlive a request do not begin in its context."""
    held: list[weakref.ref[Data]] = []

    def keep() -> None:
        data = Data()
        work.set(data)
        held.append(weakref.ref(data))

    async def keep_later() -> None:
        keep()
        await asyncio.sleep(0)

    for name, function in (("plain", keep), ("later", keep_later)):
        stage.server.function(function, name=name)
    stage.server.function(keep, name="threaded", thread=True)
    stage.server.function(keep_later, name="narrow", max_concurrency=1)

    async def ask(timeout: float) -> None:
        if form == "in the caller":
            keep()
        await stage.container.call("plain" if form == "in the caller" else form, timeout=timeout)

    for timeout in 20.0, 0.2, 0.1:  # each is the first to come
        await asyncio.gather(*(asyncio.create_task(ask(timeout)) for _ in range(3)))
    await until(lambda: not any(one() is not None for one in held), 3.0)


async def test_an_upload_that_is_cancelled_while_it_ends_holds_none_of_its_arguments(stage: Stage) -> None:
    """Its items take their time to close, and the deadline has just been told when the caller is cancelled, too."""
    held: list[weakref.ref[Data]] = []
    closing, closed = asyncio.Event(), asyncio.Event()

    async def takes(data: Any, items: AsyncIterator[int]) -> None:
        async for _ in items:
            pass

    stage.server.function(takes)

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closing.set()
            await closed.wait()

    async def ask() -> None:
        data = Data(b"x" * 100)
        held.append(weakref.ref(data))
        await stage.container.upload("takes", numbers(), data, timeout=0.1)

    task = asyncio.create_task(ask())
    await soon(closing.wait())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    closed.set()
    del task
    await until(lambda: held[0]() is None, 3.0)
