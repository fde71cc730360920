"""The container's side: section 3 of the contract, word for word."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import socket
import threading
import time
import uuid
import weakref
from typing import TYPE_CHECKING, Any

import numpy
import pytest
import zmq

from mpzmq import (
    ComputerEngineWorker,
    ConnectionLost,
    ContainerDraining,
    ContainerServer,
    ContainerStopped,
    Executed,
    InsecureBind,
    InvalidArguments,
    Limits,
    LinkState,
    LinkUp,
    Refused,
    RemoteError,
    RequestCancelled,
    RequestContext,
    RequestError,
    RequestTimeout,
    Status,
    Unsupported,
    current_request,
)
from mpzmq.protocol.wire.kinds import Kind, Op
from mpzmq.testing import connected
from tests.support.scene import REDIAL, Scene, adds_up
from tests.support.waiting import event_of, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.container import Start
    from tests.support.raw import Raw

# Handlers


async def test_every_kind_of_function(scene: Scene) -> None:
    server, call = scene.server, scene.container.call

    class Service:
        factor = 3

        def times(self, number: int) -> int:
            return number * self.factor

        async def later(self, number: int) -> int:
            await asyncio.sleep(0)
            return number * self.factor

    class Callable_:
        async def __call__(self, number: int) -> int:
            return number + 1

    def plain(number: int) -> int:
        return number

    service = Service()
    assert server.function(plain) is plain
    assert server.function(service.times) == service.times
    server.function(service.later, name="other")
    server.function(functools.partial(plain, number=5), name="partial")
    server.function(Callable_(), name="object")
    server.function(lambda: threading.current_thread() is threading.main_thread(), name="thread", thread=True)
    server.function(len)

    @server.function(name="spelled differently")
    async def decorated(*args: int, **kwargs: int) -> Any:
        return [list(args), kwargs]

    assert await call("plain", 1) == 1
    assert await call("times", 2) == 6
    assert await call("other", 2) == 6
    assert await call("partial") == 5
    assert await call("object", 1) == 2
    assert await call("thread") is False
    assert await call("len", [1, 2]) == 2
    assert await call("spelled differently", 1, 2, a=3) == [[1, 2], {"a": 3}]
    with pytest.raises(Unsupported):
        await call("decorated")


def test_what_cannot_be_registered() -> None:
    server = ContainerServer()

    @server.function
    @server.on_invoke
    def once(data: Any) -> Any:
        return data

    with pytest.raises(ValueError, match="once"):
        server.function(once)
    with pytest.raises(ValueError):
        server.function(lambda: None, name="once")
    with pytest.raises(ValueError):
        server.on_invoke(once)
    server.on_state_change(lambda status: None)
    with pytest.raises(ValueError):
        server.on_state_change(lambda status: None)

    async def is_async() -> None: ...

    def generates() -> Any:
        yield

    with pytest.raises(TypeError):
        server.function(is_async, thread=True)
    with pytest.raises(TypeError):
        server.function(generates)
    with pytest.raises(TypeError):
        server.function(functools.partial(once, 1))
    with pytest.raises(TypeError):
        server.function(once, name="a", max_concurrency=True)
    with pytest.raises(ValueError, match="1 or more"):
        server.function(once, name="a", max_concurrency=0)


async def test_the_context_is_injected_wherever_the_parameter_stands(scene: Scene) -> None:
    def first(context: RequestContext, a: int, b: int = 2) -> Any:
        return [a, b, context.function]

    def middle(a: int, context: RequestContext, b: int = 2) -> Any:
        return [a, b, context.function]

    def last(a: int, b: int = 2, context: RequestContext | None = None) -> Any:
        return [a, b, None]

    def keyword(a: int, b: int = 2, *, context: RequestContext) -> Any:
        return [a, b, context.function]

    def starred(a: int, *rest: int, context: RequestContext) -> Any:
        return [a, *(rest or (2,)), context.function]

    for function in (first, middle, last, keyword, starred):
        name = function.__name__
        scene.server.function(function)
        told = None if function is last else name
        assert await scene.container.call(name, 1) == [1, 2, told]
        assert await scene.container.call(name, 1, 3) == [1, 3, told]
        assert await scene.container.call(name, a=1) == [1, 2, told]
        if function is not starred:
            assert await scene.container.call(name, a=1, b=3) == [1, 3, told]
            assert await scene.container.call(name, 1, b=3) == [1, 3, told]
        if function is not last:
            with pytest.raises(InvalidArguments):
                await scene.container.call(name, 1, context=5)
        with pytest.raises(InvalidArguments):
            await scene.container.call(name)
    described = {f.name: f.signature for f in (await scene.container.describe()).functions}
    assert "context" not in described["middle"]


async def test_what_a_handler_knows_of_its_request(scene: Scene) -> None:
    seen: list[RequestContext] = []

    def helper() -> None:
        context = current_request()
        assert context is not None
        seen.append(context)

    @scene.server.function
    async def asks(context: RequestContext) -> None:
        helper()
        assert current_request() is context
        await asyncio.create_task(asyncio.sleep(0))
        helper()

    @scene.server.function(thread=True)
    def in_thread(context: RequestContext) -> None:
        helper()
        assert current_request() is context

    @scene.server.function
    def plain(context: RequestContext) -> None:
        helper()

    assert current_request() is None
    for name in ("asks", "in_thread", "plain"):
        seen.clear()
        request_id = uuid.uuid4()
        await scene.container.call(name, request_id=request_id, timeout=5, metadata={"a": 1})
        context = seen[-1]
        assert context.request_id == request_id
        assert (context.function, context.user, dict(context.metadata)) == (name, None, {"a": 1})
        assert str(os.getpid()) in context.peer
        assert context.deadline is not None
        assert 0 < (context.remaining() or 0) <= 5.01
        assert not context.cancelled
    assert current_request() is None


async def test_what_a_handler_raises(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    @scene.server.function
    async def fails(how: str) -> None:
        match how:
            case "own":
                raise RemoteError("declined", code="insufficient_funds", data={"missing": 5, "id": uuid.UUID(int=7)})
            case "refused":
                raise Refused("why")
            case "lookup":
                raise KeyError("key")
            case "mute":
                raise Mute
            case "timeout":
                raise TimeoutError("inside")
            case "mpzmq":
                raise RequestTimeout("of another request")
            case "unfit":
                raise RemoteError("x", data=object())
            case "cancel":
                raise asyncio.CancelledError

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("broken")

    async def outcome(how: str) -> RequestError:
        with pytest.raises(RequestError) as caught:
            await soon(scene.container.call("fails", how))
        return caught.value

    own = await outcome("own")
    assert isinstance(own, RemoteError)
    assert (own.code, own.data) == ("insufficient_funds", {"missing": 5, "id": uuid.UUID(int=7)})
    assert (own.error_message, own.executed) == ("declined", Executed.YES)
    refused = await outcome("refused")
    assert (type(refused), refused.executed) == (Refused, Executed.NO)
    assert "why" in str(refused)
    for how, name in (("lookup", "KeyError"), ("timeout", "TimeoutError"), ("mpzmq", "RequestTimeout"),
                      ("mute", "Mute"), ("unfit", "EncodeError")):  # fmt: skip
        error = await outcome(how)
        assert isinstance(error, RemoteError)
        assert (error.error_type, error.executed) == (name, Executed.YES)
        assert "Traceback" not in str(error)
        assert str(error.request_id) in caplog.text
    cancelled = await outcome("cancel")
    assert (type(cancelled), cancelled.executed) == (RequestCancelled, Executed.YES)
    assert await scene.container.request("next") == "next"
    assert "Traceback" in caplog.text


async def test_a_refusal_of_a_nested_call_is_no_refusal_of_the_handler(scene: Scene) -> None:
    @scene.server.function
    def refuses() -> None:
        raise Refused("inner")

    @scene.server.function
    async def outer() -> None:
        await scene.container.call("refuses")

    with pytest.raises(RemoteError) as caught:
        await scene.container.call("outer")
    assert caught.value.executed is Executed.YES
    assert caught.value.error_type == "Refused"


async def test_a_users_own_exception_named_refused_is_a_failure(scene: Scene) -> None:
    named_refused = type("Refused", (Exception,), {})

    @scene.server.function
    def fails() -> None:
        raise named_refused

    with pytest.raises(RemoteError):
        await scene.container.call("fails")
    counted = scene.server.statistics()
    assert (counted.failed, counted.refused) == (1, 0)


async def test_results_that_cannot_be_sent_are_remote_errors() -> None:
    small = Limits(message_bytes=100_000)
    async with ContainerServer() as server, ComputerEngineWorker(limits=small) as worker:

        @server.function
        def gives(what: str) -> Any:
            deep: Any = []
            for _ in range(70):
                deep = [deep]
            return {"object": object(), "int": 1 << 64, "deep": deep, "large": bytes(200_000), "str": "x" * 200_000}[
                what
            ]

        container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        neighbour = asyncio.create_task(container.call("gives", "nothing"))
        for what, name in (("object", "EncodeError"), ("int", "EncodeError"), ("deep", "EncodeError"),
                           ("large", "MessageTooLarge"), ("str", "MessageTooLarge")):  # fmt: skip
            with pytest.raises(RemoteError) as caught:
                await soon(container.call("gives", what))
            assert caught.value.executed is Executed.YES
            assert caught.value.error_type == name
        with pytest.raises(RemoteError, match="KeyError"):
            await neighbour
        assert container.statistics().reconnects == 0
        assert server.statistics().failed == 6


async def test_a_slow_plain_handler_is_logged_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    @scene.server.function
    def holds() -> None:
        time.sleep(0.12)

    for _ in range(3):
        await scene.container.call("holds")
    told = [record for record in caplog.records if "holds" in record.getMessage() and "thread" in record.getMessage()]
    assert len(told) == 1
    assert told[0].levelno == logging.WARNING


# State


async def test_stop_refuses_work_and_nothing_else(scene: Scene) -> None:
    scene.server.function(lambda: 1, name="f")
    await scene.container.set_state(Status.STOP)
    for attempt in (scene.container.request("x"), scene.container.call("f")):
        with pytest.raises(ContainerStopped) as caught:
            await attempt
        assert caught.value.executed is Executed.NO
    assert await scene.container.get_state() is Status.STOP
    assert (await scene.container.describe()).status is Status.STOP
    scene.server.status = Status.RUNNING
    assert await scene.container.call("f") == 1


@pytest.mark.parametrize("is_async", [True, False])
async def test_on_state_change_runs_before_the_reply_and_may_veto(scene: Scene, is_async: bool) -> None:
    seen: list[tuple[Status, Status]] = []

    def judge(status: Status) -> None:
        seen.append((scene.server.status, status))
        if status is Status.STOP:
            raise Refused("not now")

    async def judge_later(status: Status) -> None:
        await asyncio.sleep(0.01)
        judge(status)

    scene.server.on_state_change(judge_later if is_async else judge)
    with pytest.raises(Refused, match="not now") as caught:
        await scene.container.set_state(Status.STOP)
    assert caught.value.executed is Executed.NO
    assert scene.server.status is Status.RUNNING
    assert await scene.container.get_state() is Status.RUNNING
    assert await scene.container.set_state(Status.RUNNING) is Status.RUNNING
    assert seen == [(Status.RUNNING, Status.STOP), (Status.RUNNING, Status.RUNNING)]


# Life


async def test_lifespan_is_entered_before_the_first_bind_and_left_after_the_drain() -> None:
    order: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(server: ContainerServer) -> AsyncIterator[dict[str, int]]:
        order.append("entered")
        try:
            yield {"pool": 5}
        finally:
            order.append("left")

    server = ContainerServer(lifespan=lifespan)

    @server.function
    async def work(context: RequestContext) -> int:
        await asyncio.sleep(0.05)
        order.append("worked")
        pool: int = context.state["pool"]
        return pool

    async with server, ComputerEngineWorker() as worker:
        assert order == []
        container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        await server.bind("127.0.0.1:0")
        assert order == ["entered"]
        call = asyncio.create_task(container.call("work"))
        await until(lambda: server.statistics().in_flight)
        await soon(server.drain())
        await server.close()
        assert await call == 5
    assert order == ["entered", "worked", "left"]


async def test_a_lifespan_that_fails_fails_the_bind() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(server: ContainerServer) -> AsyncIterator[None]:
        raise LookupError("no database")
        yield

    async with ContainerServer(lifespan=lifespan) as server:
        with pytest.raises(LookupError):
            await server.bind("127.0.0.1:0")


async def test_several_endpoints(tmp_path: Path) -> None:
    async with ContainerServer() as server:
        server.on_invoke(lambda data: data)
        endpoints = [
            await server.bind("tcp://127.0.0.1:0"),
            await server.bind(("127.0.0.1", 0)),
            await server.bind("[::1]:0"),
            await server.bind(f"ipc://{tmp_path}/socket"),
        ]
        assert len(set(endpoints)) == 4
        assert not any(endpoint.endswith(":0") for endpoint in endpoints)
        for endpoint in endpoints:
            async with ComputerEngineWorker() as worker:
                container = await worker.connect(uuid.uuid4(), endpoint)
                assert await container.request(endpoint) == endpoint


async def test_one_worker_may_know_one_container_under_two_ids(scene: Scene) -> None:
    other = await scene.worker.connect(uuid.uuid4(), scene.endpoint)
    assert await other.request(1) == 1
    assert await scene.container.request(2) == 2
    await other.disconnect()
    assert await scene.container.request(3) == 3
    again = await scene.worker.connect(other.remote_id, scene.endpoint)
    assert await again.request(4) == 4


async def test_a_port_in_use_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with ContainerServer() as server:
            with pytest.raises(OSError) as caught:
                await server.bind(taken.getsockname()[:2])
            assert caught.value.errno
            assert await server.bind("127.0.0.1:0")


@pytest.mark.parametrize("endpoint", ["0.0.0.0:0", "*:0", "tcp://*:0", "[::]:0", ("0.0.0.0", 0)])
async def test_a_bind_that_others_can_reach_is_insecure(endpoint: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with ContainerServer() as server:
        with pytest.raises(InsecureBind) as caught:
            await server.bind(endpoint)
        assert isinstance(caught.value, ValueError)
        assert caught.value.endpoint
    assert not caplog.records


async def test_insecure_has_to_be_said_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with ContainerServer() as server:
        bound = await server.bind("0.0.0.0:0", insecure=True)
        assert any(record.levelno == logging.WARNING for record in caplog.records)
        async with ComputerEngineWorker() as worker:
            port = int(bound.rpartition(":")[2])
            assert (await worker.connect(uuid.uuid4(), ("127.0.0.1", port))).is_running()
    with pytest.raises(InsecureBind):
        await asyncio.to_thread(ContainerServer().run, "0.0.0.0:0", loop="asyncio")


@pytest.mark.parametrize("endpoint", ["", "nowhere", "127.0.0.1:99999", "ipc://", "http://127.0.0.1:0", "127.0.0.1:-1"])
async def test_a_malformed_endpoint(endpoint: str) -> None:
    async with ContainerServer() as server:
        with pytest.raises(ValueError):
            await server.bind(endpoint)


async def test_run_inside_a_loop_names_serve_forever() -> None:
    with pytest.raises(RuntimeError, match="serve_forever"):
        ContainerServer().run("127.0.0.1:0")
    with pytest.raises(ValueError):
        await asyncio.to_thread(ContainerServer().run)


async def test_serve_forever_ends_with_close_and_its_cancellation_closes() -> None:
    server = ContainerServer()
    await server.bind("127.0.0.1:0")
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    await server.close()
    await server.close()
    await soon(serving)
    with pytest.raises(RuntimeError, match="closed"):
        await server.bind("127.0.0.1:0")
    async with server:
        await server.bind("127.0.0.1:0")
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(serving)
        assert server.instance is None


# Drain and close


async def test_a_drain_lets_work_finish_and_delivers_every_reply(scene: Scene) -> None:
    release = asyncio.Event()

    @scene.server.function
    async def slow(number: int) -> Any:
        await release.wait()
        await asyncio.sleep(0.001 * (number % 100))
        return [number, "x" * 1000]

    calls = [asyncio.create_task(scene.container.call("slow", number)) for number in range(2000)]
    await until(lambda: scene.server.statistics().in_flight == 2000)
    draining = asyncio.create_task(scene.server.drain())
    await until(lambda: scene.container.state is LinkState.DRAINING)
    assert not scene.container.is_running()
    release.set()
    with pytest.raises(ContainerDraining) as caught:
        await scene.container.call("slow", 0, wait=False)
    assert caught.value.executed is Executed.NO
    await soon(draining)
    await scene.server.close()
    assert [number for number, _ in await soon(asyncio.gather(*calls))] == list(range(2000))
    assert scene.server.instance is None
    assert adds_up(scene.container.statistics())


async def test_new_work_waits_for_the_successor_on_the_same_port_in_order() -> None:
    started: list[int] = []

    def serve(server: ContainerServer) -> ContainerServer:
        @server.function
        def note(number: int) -> int:
            started.append(number)
            return number

        @server.function
        async def slow() -> str:
            await asyncio.sleep(0.3)
            return "old"

        return server

    async with ComputerEngineWorker(reconnect=REDIAL) as worker, serve(ContainerServer()) as old:
        endpoint = await old.bind("127.0.0.1:0")
        container = await worker.connect(uuid.uuid4(), endpoint)
        before = container.instance
        events = worker.service().events()
        running = asyncio.create_task(container.call("slow"))
        await until(lambda: old.statistics().in_flight)
        draining = asyncio.create_task(old.drain())
        await asyncio.sleep(0)
        # These leave before GOODBYE has been read, each in a message of its own; they are refused, and wait.
        early = []
        for number in range(5):
            early.append(asyncio.create_task(container.call("note", number)))
            await asyncio.sleep(0)
        await until(lambda: container.state is LinkState.DRAINING)
        late = [asyncio.create_task(container.call("note", number)) for number in range(5, 10)]
        assert await soon(running) == "old"
        await soon(draining)
        await old.close()
        assert not any(call.done() for call in late)
        async with serve(ContainerServer()) as successor:
            await successor.bind(endpoint)
            assert await soon(asyncio.gather(*early, *late)) == list(range(10))
            up = await event_of(events, LinkUp)
            assert (up.reconnected, up.instance != before) == (True, True)
            assert started == list(range(10))


async def test_a_drain_that_runs_out_ends_anyway(scene: Scene) -> None:
    @scene.server.function
    async def for_ever() -> None:
        await asyncio.Event().wait()

    call = asyncio.create_task(scene.container.call("for_ever"))
    await until(lambda: scene.server.statistics().in_flight)
    await soon(scene.server.drain(timeout=0.1))
    await soon(scene.server.close())
    with pytest.raises(RequestCancelled) as caught:
        await soon(call)
    assert caught.value.executed is Executed.YES


async def test_close_cancels_handlers_and_tells_their_callers(scene: Scene) -> None:
    ended: list[str] = []

    @scene.server.function
    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    calls = [asyncio.create_task(scene.container.call("for_ever")) for _ in range(3)]
    await until(lambda: scene.server.statistics().in_flight == 3)
    await soon(scene.server.close())
    for call in calls:
        with pytest.raises(RequestCancelled) as caught:
            await soon(call)
        assert caught.value.executed is Executed.YES
    assert ended == ["cancelled"] * 3


async def test_a_handler_that_will_not_be_cancelled_does_not_hold_a_close(scene: Scene) -> None:
    release = asyncio.Event()
    let_go = asyncio.Event()

    @scene.server.function
    async def stubborn() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        let_go.set()

    call = asyncio.create_task(scene.container.call("stubborn"))
    try:
        await until(lambda: scene.server.statistics().in_flight)
        await soon(scene.server.close(), 5)
        with pytest.raises(RequestCancelled):
            await soon(call)
    finally:
        release.set()
        await soon(let_go.wait())
        await asyncio.sleep(0)


async def test_a_thread_that_never_ends_does_not_hold_a_close(scene: Scene) -> None:
    begun, release = threading.Event(), threading.Event()

    @scene.server.function(thread=True)
    def stuck() -> None:
        begun.set()
        release.wait()

    call = asyncio.create_task(scene.container.call("stuck"))
    await until(begun.is_set)
    await soon(scene.server.close(), 5)
    with pytest.raises(RequestError) as caught:
        await soon(call)
    assert caught.value.executed is not Executed.NO
    release.set()


# Cancellation, deadlines, order


async def test_cancelling_the_caller_cancels_the_handler(scene: Scene) -> None:
    cancelled = asyncio.Event()
    flags: list[bool] = []

    @scene.server.function
    async def for_ever(context: RequestContext) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            flags.append(context.cancelled)
            cancelled.set()
            raise

    call = asyncio.create_task(scene.container.call("for_ever"))
    await until(lambda: scene.server.statistics().in_flight)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await soon(cancelled.wait())
    await until(lambda: not scene.server.statistics().in_flight)
    assert flags == [True]
    assert scene.server.statistics().cancelled == 1


async def test_the_deadline_cancels_the_handler(scene: Scene) -> None:
    cancelled = asyncio.Event()
    in_thread = threading.Event()

    @scene.server.function
    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    @scene.server.function(thread=True)
    def looks(context: RequestContext) -> None:
        while not context.cancelled:
            time.sleep(0.005)
        in_thread.set()

    for name in ("for_ever", "looks"):
        with pytest.raises(RequestTimeout) as caught:
            await soon(scene.container.call(name, timeout=0.1))
        assert caught.value.executed in (Executed.UNKNOWN, Executed.YES)
    await soon(cancelled.wait())
    assert await asyncio.to_thread(in_thread.wait, 5)
    await until(lambda: not scene.server.statistics().in_flight)


async def test_what_is_not_cancellable_runs_to_its_end(scene: Scene) -> None:
    ended: list[str] = []

    @scene.server.function(cancellable=False)
    async def must_end(word: str) -> None:
        await asyncio.sleep(0.15)
        ended.append(word)

    call = asyncio.create_task(scene.container.call("must_end", "cancelled"))
    await until(lambda: scene.server.statistics().in_flight)
    call.cancel()
    with pytest.raises(RequestTimeout):
        await scene.container.call("must_end", "timed out", timeout=0.05)
    await until(lambda: not scene.server.statistics().in_flight)
    assert sorted(ended) == ["cancelled", "timed out"]


@pytest.mark.parametrize("together", [True, False])
async def test_a_cancel_right_behind_its_request_stops_it(
    scene: Scene, raw: Callable[[int], Raw], together: bool
) -> None:
    ran: list[int] = []

    @scene.server.function
    def plain(number: int) -> None:
        ran.append(number)

    @scene.server.function
    async def later(number: int) -> None:
        ran.append(number)

    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    for number, name in enumerate(("plain", "later") * 5):
        tag = uuid.uuid4().bytes
        request = [Kind.REQUEST, number, None, 0, Op.CALL, name, [number], None, None]
        if together:
            peer.send(tag + tag, peer.pack(request, [Kind.CANCEL]))
        else:
            peer.send(tag, peer.pack(request))
            peer.send(tag, peer.pack([Kind.CANCEL]))
    time.sleep(0.2)  # noqa: ASYNC251  (on purpose: what was sent is there before the server reads again)
    tag = uuid.uuid4().bytes
    peer.send(tag, peer.pack([Kind.REQUEST, 99, None, 0, Op.INVOKE, None, ["behind"], None, None]))
    assert peer.unpack(await peer.receive()) == [(tag, [Kind.RESPONSE, 1, "behind"])]
    assert ran == []
    assert scene.server.statistics().cancelled == 10


async def test_requests_start_in_the_order_of_issue_whatever_their_handlers_are(scene: Scene) -> None:
    started: list[int] = []

    @scene.server.function
    def plain(number: int) -> int:
        started.append(number)
        return number

    @scene.server.function
    async def later(number: int) -> int:
        started.append(number)
        await asyncio.sleep(0)
        return number

    calls = []
    for number in range(3000):
        name = "plain" if number % 7 in (0, 3, 4) else "later"
        calls.append(asyncio.create_task(scene.container.call(name, number, *())))
        if number % 501 == 0:
            await asyncio.sleep(0)
    assert await soon(asyncio.gather(*calls)) == list(range(3000))
    assert started == list(range(3000))


async def test_a_request_that_was_given_up_while_the_container_was_blocked_never_runs(start: Start) -> None:
    async with ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        blocked = asyncio.create_task(container.call("block", 1.0))
        # What is read in one burst with the call that blocks is another matter.
        await asyncio.sleep(0.2)
        late = asyncio.create_task(container.call("slow", 0, "late", timeout=0.1))
        with pytest.raises(RequestTimeout) as caught:
            await soon(late)
        assert caught.value.executed is Executed.UNKNOWN
        assert not blocked.done()
        assert await soon(blocked) == "done"
        assert await container.call("seen") == []


async def test_a_deadline_that_passes_behind_a_slow_handler_of_the_same_burst_is_kept(start: Start) -> None:
    async with ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        blocked = asyncio.create_task(container.call("block", 0.6))
        late = asyncio.create_task(container.call("slow", 0, "late", timeout=0.2))
        with pytest.raises(RequestTimeout):
            await soon(late)
        assert await soon(blocked) == "done"
        assert await container.call("seen") == []


class Odd(BaseException):
    """No Exception."""


@pytest.mark.parametrize(
    "odd", [Odd("why"), GeneratorExit("why"), StopIteration("why")], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("kind", ["plain", "async", "thread"])
async def test_whatever_a_handler_raises_is_answered_and_harms_nobody_else(
    scene: Scene, odd: BaseException, kind: str
) -> None:
    def plain() -> None:
        raise odd

    async def asynchronous() -> None:
        raise odd

    if kind == "async":
        scene.server.function(asynchronous, name="odd")
    else:
        scene.server.function(plain, name="odd", thread=kind == "thread")
    call = scene.container.call
    outcomes = await soon(asyncio.gather(call("odd"), scene.container.request("x"), return_exceptions=True))
    assert isinstance(outcomes[0], RemoteError)
    assert outcomes[0].executed is Executed.YES
    assert outcomes[1] == "x"
    assert scene.server.statistics().in_flight == 0


# A process of its own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_drains_on_a_signal_and_exits_with_0(start: Start, number: int) -> None:
    process = await start(drain_timeout=8.0)
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        running = asyncio.create_task(container.call("slow", 0.5, "finished"))
        while await container.call("seen") != ["finished"]:
            pass
        process.send_signal(number)
        assert await soon(running) == "finished"
        assert await process.wait() == 0
    said = process.stderr
    assert "Traceback" not in said
    assert "Warning" not in said


async def test_a_second_signal_closes_at_once(start: Start) -> None:
    process = await start(drain_timeout=60.0)
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        running = asyncio.create_task(container.call("slow", 60, timeout=None))
        while not await container.call("seen"):
            pass
        process.send_signal(signal.SIGTERM)
        await until(lambda: container.state is LinkState.DRAINING)
        process.send_signal(signal.SIGTERM)
        with pytest.raises((RequestCancelled, ConnectionLost)) as caught:
            await soon(running)
        assert type(caught.value) is RequestCancelled
        assert await process.wait() == 0
    assert "Traceback" not in process.stderr


async def test_a_drain_timeout_ends_a_process(start: Start) -> None:
    process = await start(drain_timeout=0.3)
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        running = asyncio.create_task(container.call("slow", 60, timeout=None))
        while not await container.call("seen"):
            pass
        process.send_signal(signal.SIGTERM)
        with pytest.raises(RequestCancelled):
            await soon(running)
        assert await process.wait() == 0


async def test_a_context_that_is_kept_does_not_keep_the_arguments(scene: Scene) -> None:
    kept: list[Any] = []
    arguments: list[weakref.ref[Any]] = []

    def keep(array: Any) -> str:
        kept.append(current_request())
        arguments.append(weakref.ref(array))
        return "kept"

    async def keep_later(array: Any) -> str:
        return keep(array)

    def keep_in_thread(array: Any) -> str:
        return keep(array)

    scene.server.function(keep)
    scene.server.function(keep_later)
    scene.server.function(keep_in_thread, thread=True)
    for name in ("keep", "keep_later", "keep_in_thread"):
        assert await scene.container.call(name, numpy.arange(8)) == "kept"
    await until(lambda: gc.collect() >= 0 and not any(ref() is not None for ref in arguments))
    assert [context.function for context in kept] == ["keep", "keep_later", "keep_in_thread"]


async def test_a_job_that_waits_for_a_thread_until_its_deadline_is_not_started() -> None:
    started, release = threading.Event(), threading.Event()
    ran: list[str] = []
    server = ContainerServer(limits=Limits(threads=1))

    @server.function(thread=True)
    def busy() -> None:
        started.set()
        release.wait(10)

    @server.function(thread=True, cancellable=False)
    def must_end() -> None:
        ran.append("must_end")

    async with connected(server) as container:
        first = asyncio.create_task(container.call("busy"))
        await until(started.is_set)
        loop = asyncio.get_running_loop()
        with pytest.raises(RequestTimeout):
            await container.call("must_end", timeout=0.05)
        late = loop.time() + 0.1  # the container counts from when it has read the request
        await until(lambda: loop.time() > late)
        release.set()
        await first
        await until(lambda: not server.statistics().in_flight)
    assert ran == []


async def test_nothing_is_started_while_a_server_closes() -> None:
    started, cancelled, release = asyncio.Event(), asyncio.Event(), asyncio.Event()
    ran: list[str] = []
    server = ContainerServer()

    @server.function
    async def stubborn() -> None:
        started.set()
        try:
            await release.wait()
        except asyncio.CancelledError:
            cancelled.set()
            await release.wait()
            raise

    @server.function
    async def late() -> None:
        ran.append("late")

    async with connected(server) as container:
        call = asyncio.create_task(container.call("stubborn"))
        await soon(started.wait())
        closing = asyncio.create_task(server.close())
        await soon(cancelled.wait())
        with pytest.raises(ContainerDraining) as caught:
            await container.call("late", wait=False)
        assert caught.value.executed is Executed.NO
        release.set()
        await soon(closing)
        with pytest.raises(RequestError):
            await soon(call)
    assert ran == []
