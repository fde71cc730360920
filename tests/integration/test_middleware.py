"""Middleware of a container, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import uuid
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    CallDetails,
    ComputerEngineWorker,
    ContainerServer,
    Executed,
    InvalidArguments,
    NotPermitted,
    Overloaded,
    Proceed,
    Refused,
    RemoteError,
    RequestContext,
    RequestError,
    RequestTimeout,
    Status,
    current_request,
)
from mpzmq.handlers import middleware as chains
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from mpzmq import ComputerEngineWriter

user: ContextVar[str] = ContextVar("user", default="nobody")

WAYS = ["plain", "coroutine", "thread", "narrow", "request", "stream", "upload", "channel"]
"""Every way in which a handler is run."""


class Stage:
    """A server with a handler of each form, each of which tells what it was given and the user that it finds.

    Attributes:
        ran: the names of the functions that have run.
    """

    def __init__(self, server: ContainerServer) -> None:
        self.server = server
        self.ran: list[str] = []
        self.stopped: list[str] = []
        self.blocking: list[RequestContext] = []
        self.gate = threading.Event()
        self.container: ComputerEngineWriter
        self.worker: ComputerEngineWorker

        def noted(way: str, *given: Any) -> list[Any]:
            self.ran.append(way)
            return [*given, user.get()]

        @server.function
        def plain(value: Any = None, *, note: str = "") -> Any:
            return noted("plain", value, note)

        @server.function
        async def coroutine(value: Any = None) -> Any:
            return noted("coroutine", value)

        @server.function(thread=True)
        def thread(value: Any = None) -> Any:
            return noted("thread", value)

        @server.function(max_concurrency=1)
        def narrow(value: Any = None) -> Any:
            return noted("narrow", value)

        @server.on_invoke
        def request(value: Any) -> Any:
            return noted("request", value)

        @server.function
        async def stream(value: Any = None) -> AsyncIterator[Any]:
            try:
                for number in range(3):
                    yield noted("stream", value, number)
            finally:
                self.stopped.append("stream")

        @server.function
        async def upload(items: AsyncIterator[Any], value: Any = None) -> Any:
            return noted("upload", value, [item async for item in items])

        @server.function
        async def channel(items: AsyncIterator[Any], value: Any = None) -> AsyncIterator[Any]:
            try:
                async for item in items:
                    yield noted("channel", value, item)
            finally:
                self.stopped.append("channel")

        @server.function
        async def hangs() -> None:
            self.ran.append("hangs")
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped.append("hangs")

        @server.function(cancellable=False)
        async def steady(seconds: float = 0.0) -> str:
            self.ran.append("steady")
            await asyncio.sleep(seconds)
            return "steady"

        @server.function(thread=True, max_concurrency=1)
        def blocks(context: RequestContext) -> str:
            self.ran.append("blocks")
            self.blocking.append(context)
            self.gate.wait(30)
            self.stopped.append("cancelled" if context.cancelled else "blocks")
            return "blocked"

    async def ask(self, way: str, value: Any = None, **options: Any) -> Any:
        """What a handler of that form says, the first item of what it yields."""
        asked = self.container.options(**options)
        match way:
            case "request":
                return await asked.request(value)
            case "stream":
                items = [item async for item in asked.stream("stream", value)]
                return items[0]
            case "upload":
                return await asked.upload("upload", [1, 2], value)
            case "channel":
                async with asked.channel("channel", value) as channel:
                    await channel.send(1)
                    return await anext(channel)
        return await asked.call(way, value)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    server = ContainerServer(name="stage", propagate=("trace",))
    made = Stage(server)
    async with server, ComputerEngineWorker() as worker:
        made.worker = worker
        made.container = await worker.connect(await server.bind("tcp://127.0.0.1:0"), name="stage")
        yield made
        made.gate.set()


async def failure(coroutine: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await coroutine
    return caught.value


@pytest.mark.parametrize("way", WAYS)
async def test_middleware_stands_around_every_handler_the_first_one_outermost(stage: Stage, way: str) -> None:
    steps: list[str] = []

    def named(name: str) -> Any:
        async def middleware(call: CallDetails, proceed: Proceed) -> Any:
            steps.append(f"into {name}")
            result = await proceed(call)
            steps.append(f"out of {name}")
            return result

        return middleware

    for name in ("a", "b", "c"):
        stage.server.middleware(named(name))
    await stage.ask(way, "x")
    assert steps == ["into a", "into b", "into c", "out of c", "out of b", "out of a"]
    assert way in stage.ran


@pytest.mark.parametrize("way", WAYS)
async def test_a_middleware_is_told_what_is_asked(stage: Stage, way: str) -> None:
    seen: list[CallDetails] = []

    @stage.server.middleware
    async def sees(call: CallDetails, proceed: Proceed) -> Any:
        seen.append(call)
        context = current_request()
        assert context is not None and context.request_id == call.request_id and context.deadline == call.deadline
        return await proceed(call)

    await stage.ask(way, "x", metadata={"tenant": "blue"}, timeout=scaled(20.0))
    (call,) = seen
    assert call.function == (None if way == "request" else way)
    assert call.op == (way if way in ("request", "stream", "upload", "channel") else "call")
    assert call.args == ("x",) and dict(call.kwargs) == {} and call.metadata == {"tenant": "blue"}
    assert call.user is None and call.remote_id is None and call.peer
    assert isinstance(call.request_id, uuid.UUID) and call.deadline is not None
    assert repr(call) == f"<CallDetails {call.op} function={call.function!r} peer={call.peer!r}>"


async def test_a_call_does_not_change(stage: Stage) -> None:
    @stage.server.middleware
    async def changes(call: Any, proceed: Proceed) -> Any:
        for name in ("args", "kwargs", "metadata", "deadline", "function", "other"):
            with pytest.raises(AttributeError):
                setattr(call, name, None)
        with pytest.raises(TypeError):
            call.kwargs["note"] = "changed"
        with pytest.raises(TypeError):
            call.metadata["note"] = "changed"
        return await proceed(call)

    assert await stage.container.call("plain", "x", note="kept") == ["x", "kept", "nobody"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_middleware_may_answer_by_itself(stage: Stage, way: str) -> None:
    async def items() -> AsyncIterator[Any]:
        yield "cached"

    @stage.server.middleware
    async def answers(call: CallDetails, proceed: Proceed) -> Any:
        return items() if call.op in ("stream", "channel") else "cached"

    assert await stage.ask(way, "x") == "cached"
    assert stage.ran == []


async def test_a_middleware_replaces_what_is_asked_and_those_inside_see_it(stage: Stage) -> None:
    seen: list[Any] = []

    @stage.server.middleware
    async def replaces(call: CallDetails, proceed: Proceed) -> Any:
        other = call.replace(args=["y"], kwargs={"note": "added"}, metadata={"tenant": "red"})
        assert call.args == ("x",) and call.metadata == {}
        return await proceed(other)

    @stage.server.middleware
    async def inside(call: CallDetails, proceed: Proceed) -> Any:
        context = current_request()
        assert context is not None
        seen.append([call.args, dict(call.kwargs), dict(call.metadata), dict(context.metadata)])
        return await proceed(call)

    assert await stage.container.call("plain", "x") == ["y", "added", "nobody"]
    assert seen == [[("y",), {"note": "added"}, {"tenant": "red"}, {"tenant": "red"}]]


async def test_arguments_that_do_not_fit_any_more_are_refused(stage: Stage) -> None:
    @stage.server.middleware
    async def spoils(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call.replace(args=(1, 2, 3)))

    for way in WAYS:
        error = await failure(stage.ask(way))
        assert isinstance(error, InvalidArguments) and error.executed is Executed.NO
    assert stage.ran == []


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"args": "abc"}, TypeError),
        ({"args": 3}, TypeError),
        ({"kwargs": [1]}, TypeError),
        ({"kwargs": {1: 2}}, TypeError),
        ({"metadata": None}, TypeError),
        ({"deadline": "soon"}, TypeError),
        ({"deadline": True}, TypeError),
        ({"deadline": float("nan")}, ValueError),
        ({"deadline": 10**400}, ValueError),
        ({"deadline": -(10**5000)}, ValueError),
        ({"deadline": 1e30}, ValueError),
        ({"deadline": None}, TypeError),
    ],
)
async def test_what_cannot_replace(stage: Stage, given: Any, kind: type[Exception]) -> None:
    raised: list[type[Exception]] = []

    @stage.server.middleware
    async def replaces(call: CallDetails, proceed: Proceed) -> Any:
        try:
            call.replace(**given)
        except Exception as error:
            raised.append(type(error))
        return await proceed(call)

    await stage.ask("plain")
    assert raised == [kind]


async def test_an_earlier_deadline_ends_the_handler(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    seen: list[float | None] = []

    @stage.server.middleware
    async def hurries(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call.replace(deadline=loop.time() + 0.05))

    @stage.server.middleware
    async def inside(call: CallDetails, proceed: Proceed) -> Any:
        context = current_request()
        assert context is not None and context.deadline == call.deadline
        seen.append(context.remaining())
        return await proceed(call)

    error = await failure(stage.container.call("hangs", timeout=None))
    assert isinstance(error, RequestTimeout) and error.executed is Executed.YES
    assert stage.stopped == ["hangs"]
    assert seen[0] is not None and 0.0 <= seen[0] <= 0.05


def overloaded() -> Overloaded:
    error = Overloaded("too many")
    error.retry_after = 7.5
    return error


REFUSALS: list[Any] = [
    lambda: Refused("no"),
    lambda: NotPermitted("not you"),
    overloaded,
    lambda: InvalidArguments("not that"),
]


@pytest.mark.parametrize("given", [float("nan"), float("inf"), -1.0])
async def test_a_time_to_try_again_that_is_none_is_not_told(stage: Stage, given: float) -> None:
    @stage.server.middleware
    async def refuses(call: CallDetails, proceed: Proceed) -> Any:
        error = Overloaded("full")
        error.retry_after = given
        raise error

    error = await failure(stage.ask("plain"))
    assert isinstance(error, Overloaded) and error.retry_after == Overloaded.retry_after


@pytest.mark.parametrize("make", REFUSALS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_refusal_before_the_handler_keeps_its_code_and_nothing_has_run(
    stage: Stage, way: str, make: Any
) -> None:
    around: list[type] = []

    @stage.server.middleware
    async def outer(call: CallDetails, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        except RequestError as error:
            around.append(type(error))
            raise

    @stage.server.middleware
    async def refuses(call: CallDetails, proceed: Proceed) -> Any:
        raise make()

    error = await failure(stage.ask(way, "x"))
    assert type(error) is type(make()) and error.executed is Executed.NO
    assert around == [type(error)] and stage.ran == []
    if isinstance(error, Overloaded):
        assert error.retry_after == 7.5
    counted = stage.server.statistics()
    assert (counted.refused, counted.failed) == (1, 0)


@pytest.mark.parametrize("make", REFUSALS)
@pytest.mark.parametrize("way", WAYS)
async def test_what_it_raises_behind_the_handler_is_a_failure(stage: Stage, way: str, make: Any) -> None:
    @stage.server.middleware
    async def refuses(call: CallDetails, proceed: Proceed) -> Any:
        result = await proceed(call)
        if call.op in ("stream", "channel"):
            await anext(result) if call.op == "stream" else None
        raise make()

    error = await failure(stage.ask(way, "x"))
    assert isinstance(error, RemoteError) and error.executed is Executed.YES
    assert error.error_type == type(make()).__name__


@pytest.mark.parametrize("before", [True, False])
async def test_any_other_error_of_a_middleware_is_the_requests_and_nobody_elses(stage: Stage, before: bool) -> None:
    @stage.server.middleware
    async def fails(call: CallDetails, proceed: Proceed) -> Any:
        if before and call.args == ("bad",):
            raise KeyError("lost")
        result = await proceed(call)
        if call.args == ("bad",):
            raise KeyError("lost")
        return result

    asked = [stage.ask("coroutine", value) for value in ("good", "bad", "good")]
    good, bad, also_good = await asyncio.gather(*asked, return_exceptions=True)
    assert good == also_good == ["good", "nobody"]
    assert isinstance(bad, RemoteError) and bad.error_type == "KeyError" and bad.executed is Executed.YES


async def test_the_handlers_own_refusal_passes(stage: Stage) -> None:
    @stage.server.function
    def refuses() -> None:
        raise Refused("mine")

    @stage.server.middleware
    async def passes(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call)

    error = await failure(stage.container.call("refuses"))
    assert isinstance(error, Refused) and error.executed is Executed.NO and "mine" in str(error)


async def test_a_middleware_may_turn_a_refusal_of_the_handler_into_an_answer(stage: Stage) -> None:
    @stage.server.function
    def refuses() -> None:
        raise Refused("mine")

    @stage.server.middleware
    async def catches(call: CallDetails, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        except Refused:
            return "caught"

    assert await stage.container.call("refuses") == "caught"


async def test_a_refusal_that_comes_from_elsewhere_is_no_refusal_of_this_container(stage: Stage) -> None:
    @stage.server.middleware
    async def asks_another(call: CallDetails, proceed: Proceed) -> Any:
        raise Refused("another container", request_id=uuid.uuid4())

    error = await failure(stage.ask("plain"))
    assert isinstance(error, RemoteError) and error.executed is Executed.YES


@pytest.mark.parametrize("way", WAYS)
async def test_a_context_variable_is_seen_by_its_handler_and_by_nobody_else(stage: Stage, way: str) -> None:
    @stage.server.middleware
    async def sets(call: CallDetails, proceed: Proceed) -> Any:
        found = user.get()
        assert found == "nobody"
        if "user" in call.metadata:
            user.set(call.metadata["user"])
        await asyncio.sleep(0)
        return await proceed(call)

    names = ["ada", None, "bob", None]
    asked = [stage.ask(way, "x", metadata={} if name is None else {"user": name}) for name in names]
    assert [found[-1] for found in await asyncio.gather(*asked)] == ["ada", "nobody", "bob", "nobody"]


async def test_what_a_handler_sets_is_seen_by_the_middleware_behind_it(stage: Stage) -> None:
    @stage.server.function
    async def sets() -> None:
        user.set("of the handler")

    @stage.server.middleware
    async def reads(call: CallDetails, proceed: Proceed) -> Any:
        await proceed(call)
        return user.get()

    assert await stage.container.call("sets") == "of the handler"


@pytest.mark.parametrize("way", ["plain", "stream"])
async def test_proceed_is_for_once(stage: Stage, way: str) -> None:
    @stage.server.middleware
    async def twice(call: CallDetails, proceed: Proceed) -> Any:
        result = await proceed(call)
        with pytest.raises(RuntimeError, match="once"):
            await proceed(call)
        return result

    await stage.ask(way)
    assert stage.ran[0] == way and len(stage.ran) == (3 if way == "stream" else 1)


async def test_proceed_that_comes_too_late_runs_nothing(stage: Stage) -> None:
    kept: list[Any] = []

    @stage.server.middleware
    async def keeps(call: CallDetails, proceed: Proceed) -> Any:
        kept.append((call, proceed))
        return "kept"

    assert await stage.ask("plain") == "kept"
    ((call, proceed),) = kept
    with pytest.raises(RuntimeError, match="too late"):
        await proceed(call)
    assert stage.ran == []


async def test_proceed_takes_the_call_and_no_other(stage: Stage) -> None:
    kept: list[CallDetails] = []

    @stage.server.middleware
    async def mixes(call: CallDetails, proceed: Any) -> Any:
        kept.append(call)
        with pytest.raises(TypeError, match="proceed"):
            await proceed("call")
        if len(kept) == 2:
            with pytest.raises(TypeError, match="proceed"):
                await proceed(kept[0])
        return await proceed(call)

    await stage.ask("plain")
    assert await stage.ask("plain", "x") == ["x", "", "nobody"]


async def test_a_forgotten_await_is_named(stage: Stage) -> None:
    @stage.server.middleware
    async def forgets(call: CallDetails, proceed: Proceed) -> Any:
        return proceed(call)

    error = await failure(stage.ask("plain"))
    assert "return await proceed(call)" in str(error)
    assert stage.ran == []


async def test_a_middleware_that_leaves_its_handler_behind_ends_it(stage: Stage) -> None:
    left: list[asyncio.Task[Any]] = []

    @stage.server.middleware
    async def leaves(call: CallDetails, proceed: Proceed) -> Any:
        task: asyncio.Task[Any] = asyncio.ensure_future(proceed(call))
        left.append(task)
        await until(lambda: "hangs" in stage.ran)
        return "left"

    assert await stage.container.call("hangs") == "left"
    assert stage.stopped == ["hangs"] and left[0].cancelled()


async def test_what_a_middleware_leaves_behind_is_not_waited_for_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "LEFT_BEHIND_TIMEOUT", 0.05)
    left: list[asyncio.Task[Any]] = []
    release = asyncio.Event()

    @stage.server.middleware
    async def leaves(call: CallDetails, proceed: Proceed) -> Any:
        async def goes_on() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await proceed(call)
            await release.wait()

        left.append(asyncio.create_task(goes_on()))
        await until(lambda: "hangs" in stage.ran)
        return "left"

    assert await stage.container.call("hangs") == "left"
    assert stage.stopped == ["hangs"] and not left[0].done()
    release.set()
    await left[0]


async def test_a_timeout_of_a_middleware_ends_the_handler_and_is_the_middlewares(stage: Stage) -> None:
    @stage.server.middleware
    async def hurries(call: CallDetails, proceed: Proceed) -> Any:
        try:
            async with asyncio.timeout(0.05):
                return await proceed(call)
        except TimeoutError:
            return "too slow"

    assert await stage.container.call("hangs") == "too slow"
    assert stage.stopped == ["hangs"]


@pytest.mark.parametrize("result", [3, [1, 2], None])
async def test_a_stream_needs_items(stage: Stage, result: Any) -> None:
    @stage.server.middleware
    async def confuses(call: CallDetails, proceed: Proceed) -> Any:
        await proceed(call)
        return result

    error = await failure(stage.ask("stream"))
    assert isinstance(error, RemoteError) and "async iterator" in str(error)


@pytest.mark.parametrize("way", ["stream", "channel"])
async def test_items_may_be_wrapped(stage: Stage, way: str) -> None:
    @stage.server.middleware
    async def wraps(call: CallDetails, proceed: Proceed) -> Any:
        items = await proceed(call)

        async def numbered() -> AsyncIterator[Any]:
            number = 0
            async for item in items:
                yield [number, item]
                number += 1

        return numbered()

    first = await stage.ask(way, "x")
    assert first[0] == 0 and first[1][0] == "x"


async def test_a_handler_whose_items_are_left_half_read_is_closed_with_its_request(stage: Stage) -> None:
    @stage.server.middleware
    async def shortens(call: CallDetails, proceed: Proceed) -> Any:
        items = await proceed(call)

        async def first() -> AsyncIterator[Any]:
            async for item in items:
                yield item
                return

        return first()

    assert len([item async for item in stage.container.stream("stream")]) == 1
    assert stage.stopped == ["stream"]


@pytest.mark.parametrize("way", ["stream", "channel"])
@pytest.mark.parametrize("leaves", ["returns", "raises"])
async def test_wrapped_items_are_closed_in_their_request_from_the_outermost_to_the_handler(
    stage: Stage, way: str, leaves: str
) -> None:
    def wrapping(name: str) -> Any:
        async def wraps(call: CallDetails, proceed: Proceed) -> Any:
            items = await proceed(call)

            async def each() -> AsyncIterator[Any]:
                token = user.set(name)
                try:
                    async for item in items:
                        yield item
                        if name == "outer":
                            break
                    if leaves == "raises" and name == "outer":
                        raise LookupError("enough")
                finally:
                    user.reset(token)  # in the context in which it was set, or it is a ValueError
                    stage.stopped.append(name)

            return each()

        return wraps

    for name in ("outer", "middle", "inner"):
        stage.server.middleware(wrapping(name))
    if leaves == "returns":
        assert await stage.ask(way, "x")
    elif way == "stream":
        assert isinstance(await failure(stage.ask(way, "x")), RemoteError)
    else:
        async with stage.container.channel("channel", "x") as channel:
            await channel.send(1)
            assert await anext(channel)
            assert isinstance(await failure(anext(channel)), RemoteError)
    await until(lambda: len(stage.stopped) == 4)
    assert stage.stopped == ["outer", "middle", "inner", way]


async def test_what_closing_one_raises_keeps_no_other_open(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    @stage.server.middleware
    async def shortens(call: CallDetails, proceed: Proceed) -> Any:
        items = await proceed(call)

        async def first() -> AsyncIterator[Any]:
            async for item in items:
                yield item
                return

        return first()

    @stage.server.middleware
    async def fails(call: CallDetails, proceed: Proceed) -> Any:
        items = await proceed(call)

        async def each() -> AsyncIterator[Any]:
            try:
                async for item in items:
                    yield item
            finally:
                raise LookupError("not closed well")

        return each()

    assert len([item async for item in stage.container.stream("stream")]) == 1
    assert stage.stopped == ["stream"] and "raised when it was closed" in caplog.text


async def test_a_caller_that_leaves_ends_the_handler_through_middleware(stage: Stage) -> None:
    @stage.server.middleware
    async def wraps(call: CallDetails, proceed: Proceed) -> Any:
        result = await proceed(call)

        async def each() -> AsyncIterator[Any]:
            async for item in result:
                yield item

        return each() if call.op == "channel" else result

    call = asyncio.create_task(stage.container.call("hangs"))
    await until(lambda: "hangs" in stage.ran)
    call.cancel()
    await until(lambda: stage.stopped == ["hangs"])
    async with stage.container.channel("channel") as channel:
        await channel.send(1)
        await anext(channel)
        await channel.aclose()
        await until(lambda: "channel" in stage.stopped)


async def test_a_caller_that_leaves_before_the_handler_ends_the_middleware(stage: Stage) -> None:
    waits, ended = asyncio.Event(), asyncio.Event()

    @stage.server.middleware
    async def waits_long(call: CallDetails, proceed: Proceed) -> Any:
        waits.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    for way in ("plain", "steady", "thread"):
        call = asyncio.create_task(stage.container.call(way))
        async with asyncio.timeout(scaled(5.0)):
            await waits.wait()
            call.cancel()
            await ended.wait()
        waits.clear()
        ended.clear()
    assert stage.ran == []


async def test_a_deadline_before_the_handler_says_that_nothing_has_run(stage: Stage) -> None:
    @stage.server.middleware
    async def hangs(call: CallDetails, proceed: Proceed) -> Any:
        await asyncio.Event().wait()

    request_id = uuid.uuid4()
    with pytest.raises(RequestTimeout):
        await stage.container.call("plain", timeout=0.1, request_id=request_id)
    await until(lambda: stage.server.statistics().in_flight == 0)
    assert stage.server.statistics().cancelled == 1 and stage.ran == []


async def test_a_middleware_that_swallows_its_cancellation_starts_no_handler(stage: Stage) -> None:
    begun, raised = asyncio.Event(), asyncio.Event()

    @stage.server.middleware
    async def swallows(call: CallDetails, proceed: Proceed) -> Any:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            return await proceed(call)
        except asyncio.CancelledError:
            raised.set()
            raise

    call = asyncio.create_task(stage.ask("plain"))
    await begun.wait()
    call.cancel()
    async with asyncio.timeout(scaled(5.0)):
        await raised.wait()
    assert stage.ran == []


async def test_what_is_not_cancellable_goes_on_behind_middleware(stage: Stage) -> None:
    behind: list[str] = []

    @stage.server.middleware
    async def tells(call: CallDetails, proceed: Proceed) -> Any:
        behind.append(await proceed(call))
        return behind[0]

    with pytest.raises(RequestTimeout):
        await stage.container.call("steady", 0.3, timeout=0.1)
    await until(lambda: behind == ["steady"])


async def test_a_thread_is_told_and_not_interrupted(stage: Stage) -> None:
    behind: list[str] = []

    @stage.server.middleware
    async def tells(call: CallDetails, proceed: Proceed) -> Any:
        behind.append(await proceed(call))
        return behind[0]

    with pytest.raises(RequestTimeout):
        await stage.container.call("blocks", timeout=0.1)
    await until(lambda: stage.blocking[0].cancelled)
    assert stage.server.statistics().in_flight == 1
    stage.gate.set()
    await until(lambda: behind == ["blocked"])
    assert stage.stopped == ["cancelled"]


async def test_a_thread_that_middleware_gives_up_keeps_its_turn_until_it_returns(stage: Stage) -> None:
    @stage.server.middleware
    async def hurries(call: CallDetails, proceed: Proceed) -> Any:
        if call.metadata.get("hurry"):
            async with asyncio.timeout(0.05):
                return await proceed(call)
        return await proceed(call)

    error = await failure(stage.container.call("blocks", metadata={"hurry": True}))
    assert isinstance(error, RemoteError) and error.error_type == "TimeoutError"
    second = asyncio.create_task(stage.container.call("blocks"))
    await stage.container.call("thread")  # another thread is free
    assert stage.ran == ["blocks", "thread"]
    stage.gate.set()
    assert await second == "blocked"
    assert stage.ran == ["blocks", "thread", "blocks"]


async def test_as_many_run_at_once_as_may(stage: Stage) -> None:
    most: list[int] = [0, 0]

    @stage.server.function(max_concurrency=2)
    async def limited() -> None:
        await asyncio.sleep(0.01)

    @stage.server.middleware
    async def counts(call: CallDetails, proceed: Proceed) -> Any:
        most[0] += 1
        most[1] = max(most)
        try:
            return await proceed(call)
        finally:
            most[0] -= 1

    await asyncio.gather(*(stage.container.call("limited") for _ in range(20)))
    assert most == [0, 2]


async def test_order_is_that_of_entering_the_middleware(stage: Stage) -> None:
    entered: list[int] = []

    @stage.server.middleware
    async def notes(call: CallDetails, proceed: Proceed) -> Any:
        entered.append(call.args[0])
        await asyncio.sleep(0.001 * (call.args[0] % 3))
        return await proceed(call)

    ways = ["plain", "coroutine"]
    await asyncio.gather(*(stage.ask(ways[number % 2], number) for number in range(60)))
    assert entered == list(range(60))


async def test_state_and_description_pass_no_middleware(stage: Stage) -> None:
    @stage.server.middleware
    async def refuses(call: CallDetails, proceed: Proceed) -> Any:
        raise Refused("nothing")

    assert (await stage.container.describe()).name == "stage"
    assert await stage.container.set_state(Status.STOP) is Status.STOP
    assert await stage.container.get_state() is Status.STOP


async def test_what_is_refused_anyway_never_reaches_a_middleware(stage: Stage) -> None:
    seen: list[Any] = []

    @stage.server.middleware
    async def notes(call: CallDetails, proceed: Proceed) -> Any:
        seen.append(call)
        return await proceed(call)

    await failure(stage.container.call("plain", 1, 2, 3))
    await failure(stage.container.call("missing"))
    await failure(stage.container.call("stream"))
    assert seen == []


async def test_an_answer_is_kept_and_nothing_runs_twice(stage: Stage) -> None:
    entered: list[Any] = []
    release = asyncio.Event()

    @stage.server.middleware
    async def notes(call: CallDetails, proceed: Proceed) -> Any:
        entered.append(call.request_id)
        await release.wait()
        return await proceed(call)

    request_id = uuid.uuid4()
    call = asyncio.create_task(stage.container.call("steady", request_id=request_id))
    await until(lambda: entered == [request_id])
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await until(lambda: stage.server.statistics().cancelled == 1)  # issued again before, it is told just that
    release.set()
    # It had not begun, so that it may begin now: the handler runs once.
    assert await stage.container.call("steady", request_id=request_id) == "steady"
    assert stage.ran == ["steady"]


async def test_a_close_ends_middleware_that_hangs(stage: Stage) -> None:
    begun = asyncio.Event()

    @stage.server.middleware
    async def hangs(call: CallDetails, proceed: Proceed) -> Any:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(stage.ask("plain"))
    await begun.wait()
    await stage.server.close()
    error = await failure(call)
    assert error.executed is Executed.NO
    assert stage.ran == []


async def test_a_drain_waits_for_middleware(stage: Stage) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    @stage.server.middleware
    async def slow(call: CallDetails, proceed: Proceed) -> Any:
        result = await proceed(call)
        begun.set()
        await release.wait()
        return result

    call = asyncio.create_task(stage.ask("plain", "x"))
    await begun.wait()
    drain = asyncio.create_task(stage.server.drain())
    await asyncio.sleep(0)
    assert not drain.done()
    release.set()
    await drain
    assert await call == ["x", "", "nobody"]


class Counting:
    """Middleware may be an object."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, call: CallDetails, proceed: Proceed) -> Any:
        self.count += 1
        return await proceed(call)

    async def method(self, call: CallDetails, proceed: Proceed) -> Any:
        return await self(call, proceed)


async def test_objects_methods_and_partials_are_middleware(stage: Stage) -> None:
    async def named(name: str, call: CallDetails, proceed: Proceed) -> Any:
        return [name, await proceed(call)]

    counting = Counting()
    assert stage.server.middleware(counting) is counting
    stage.server.middleware(counting.method)
    stage.server.middleware(functools.partial(named, "partial"))
    assert await stage.ask("coroutine", 1) == ["partial", [1, "nobody"]]
    assert counting.count == 2


@pytest.mark.parametrize("given", [None, 3, lambda call, proceed: None, Counting, "m"])
def test_what_is_no_middleware(given: Any) -> None:
    with pytest.raises(TypeError, match="async def m"):
        ContainerServer().middleware(given)


def test_plain_handlers_are_called_at_once_again_without_middleware() -> None:
    server = ContainerServer()

    @server.function
    def before() -> None: ...

    registry = server._registry
    assert registry.functions["before"].is_plain

    @server.middleware
    async def around(call: CallDetails, proceed: Proceed) -> Any:
        return await proceed(call)

    @server.function
    def after() -> None: ...

    assert not registry.functions["before"].is_plain and not registry.functions["after"].is_plain
