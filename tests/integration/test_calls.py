"""Calls from a container to its engine, over real sockets."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ConnectionClosed,
    ContainerServer,
    EncodeError,
    Executed,
    InvalidArguments,
    Limits,
    LinkDown,
    MessageTooLarge,
    Overloaded,
    Refused,
    RemoteError,
    RequestCancelled,
    RequestContext,
    RequestTimeout,
    Unsupported,
    current_request,
    detached,
)
from mpzmq.protocol.flow.fragmenter import FRAGMENT_BYTES
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import event_of, soon, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mpzmq.testing import Proxy, ProxyFactory

SMALL = Limits(in_flight=50, message_bytes=200_000)


@dataclass
class Stage:
    """A container behind a proxy, its engine, and what functions of the engine have done."""

    server: ContainerServer
    proxy: Proxy
    worker: ComputerEngineWorker
    container: ComputerEngineWriter
    ran: list[Any] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def handler(self, body: Callable[[RequestContext], Awaitable[Any]], **options: Any) -> None:
        """What ``work()`` does in the container."""

        async def work(context: RequestContext) -> Any:
            return await body(context)

        self.server.function(work, name="work", **options)

    async def work(self, **options: Any) -> Any:
        return await soon(self.container.call("work", **options))

    async def lose(self) -> None:
        """The connection breaks, and comes back."""
        events = self.worker.service().events()
        await self.proxy.reset()
        await event_of(events, LinkDown)

    def is_empty(self) -> bool:
        """Whether nothing is known of any call, on either side, and the books of both add up."""
        dispatcher = self.worker._functions.dispatcher
        nested_calls = self.container._connection._nested_calls
        peers = self.server._driver.sessions.all() if self.server._driver is not None else []
        callers = [peer.caller for peer in peers if peer.caller is not None]
        return (
            (dispatcher is None or not dispatcher.in_flight)
            and not (nested_calls._parents or nested_calls._open or len(nested_calls.replies) or nested_calls.in_flight)
            and all(not (caller.requester.tracker.pending or caller._inside) for caller in callers)
            and all(
                adds_up(caller.requester.tracker.statistics(reconnects=0, attempts=0, rtt=None)) for caller in callers
            )
            and adds_up(self.worker.service().statistics())
        )


@pytest.fixture
async def stage(mpzmq_proxy: ProxyFactory, limits: Limits) -> AsyncIterator[Stage]:
    server = ContainerServer(name="stage", heartbeat=QUICK, limits=limits)
    async with server, ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK, limits=limits) as worker:
        proxy = await mpzmq_proxy(await server.bind("tcp://127.0.0.1:0"))
        made = Stage(server, proxy, worker, await worker.connect(uuid.uuid4(), proxy.endpoint, name="the stage"))

        @worker.function
        def note(word: Any, *, twice: bool = False) -> Any:
            made.ran.append(word)
            return [word, word] if twice else word

        @worker.function
        async def wait(word: Any) -> Any:
            made.ran.append(word)
            try:
                await made.gate.wait()
            finally:
                made.ended.append(word)
            return word

        yield made
        await until(made.is_empty)


async def test_progress_of_a_request_is_told_in_order(stage: Stage) -> None:
    async def body(context: RequestContext) -> str:
        for step in range(100):
            assert await context.call("note", step) == step
        return "done"

    stage.handler(body)
    assert await stage.work() == "done"
    assert stage.ran == list(range(100))


async def test_what_a_function_of_the_engine_gets(stage: Stage) -> None:
    request_id = uuid.uuid4()
    seen: list[Any] = []

    @stage.worker.function(name="look")  # after connect()
    async def look(a: int, context: RequestContext, b: bytes = b"") -> Any:
        seen.append((context.peer, context.user, context.metadata, context.parent, context.remote_id))
        seen.append((context.function, context.remaining(), current_request() is context, len(b)))
        with pytest.raises(RuntimeError, match=r"context\.remote_id"):
            await context.call("note", 1)
        return {"a": a, "b": b}

    async def body(context: RequestContext) -> Any:
        assert context.parent is None and context.remote_id is None
        return await context.call("look", 1, b=bytes(30_000))

    stage.handler(body)
    assert await stage.work(request_id=request_id) == {"a": 1, "b": bytes(30_000)}
    assert seen[0] == ("the stage", None, {}, request_id, stage.container.remote_id)
    function, remaining, is_current, size = seen[1]
    assert (function, is_current, size) == ("look", True, 30_000) and 0 < remaining < 30.1


@pytest.mark.parametrize("options", [{"thread": True}, {"max_concurrency": 2}, {"cancellable": False}])
async def test_functions_take_the_options_of_a_container(stage: Stage, options: dict[str, Any]) -> None:
    stage.worker.function(lambda a: a + 1, name="add", **options)

    async def body(context: RequestContext) -> Any:
        return await asyncio.gather(*(context.call("add", number) for number in range(20)))

    stage.handler(body)
    assert await stage.work() == list(range(1, 21))


async def test_what_may_go_wrong(stage: Stage) -> None:
    @stage.worker.function
    async def fails(how: str) -> Any:
        if how == "refused":
            raise Refused("not now")
        if how == "declined":
            raise RemoteError("declined", code="poor", data={"left": 3})
        if how == "unfit":
            return object()
        raise ValueError("odd")

    errors: dict[str, Any] = {}

    async def body(context: RequestContext) -> None:
        async def attempt(what: str, call: Awaitable[Any]) -> None:
            try:
                await call
            except Exception as error:
                errors[what] = error

        await attempt("unknown", context.call("notes", 1))
        await attempt("arguments", context.call("note"))
        await attempt("refused", context.call("fails", "refused"))
        await attempt("declined", context.call("fails", "declined"))
        await attempt("odd", context.call("fails", "odd"))
        await attempt("unfit", context.call("fails", "unfit"))
        await attempt("no value", context.call("note", object()))
        await attempt("late", context.call("note", 1, timeout=0))
        await attempt("no name", _awaited(lambda: context.call(7)))  # type: ignore[arg-type]
        await attempt("no timeout", context.call("note", 1, timeout="soon"))  # type: ignore[arg-type]

    stage.handler(body)
    await stage.work()
    assert isinstance(errors["unknown"], Unsupported) and "did you mean 'note'?" in str(errors["unknown"])
    assert isinstance(errors["arguments"], InvalidArguments)
    assert isinstance(errors["refused"], Refused) and "not now" in str(errors["refused"])
    assert isinstance(errors["declined"], RemoteError)
    assert (errors["declined"].code, errors["declined"].data) == ("poor", {"left": 3})
    assert errors["odd"].error_type == "ValueError" and errors["odd"].executed is Executed.YES
    assert errors["unfit"].error_type == "EncodeError"
    assert isinstance(errors["no value"], EncodeError) and "args[0]" in str(errors["no value"])
    assert isinstance(errors["late"], RequestTimeout)
    assert type(errors["no name"]) is type(errors["no timeout"]) is TypeError
    for name in ("unknown", "arguments", "refused", "late"):
        assert errors[name].executed is Executed.NO
        assert errors[name].remote_id is None and "engine" in str(errors[name])
    assert stage.ran == []


async def _awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


async def test_an_error_of_a_call_that_escapes_is_the_handlers_own(stage: Stage) -> None:
    async def body(context: RequestContext) -> None:
        await context.call("unknown")

    stage.handler(body)
    with pytest.raises(RemoteError) as caught:
        await stage.work()
    assert caught.value.error_type == "Unsupported"


@pytest.mark.parametrize("limits", [SMALL])
async def test_what_is_too_much_is_not_sent(stage: Stage) -> None:
    async def body(context: RequestContext) -> Any:
        with pytest.raises(MessageTooLarge) as large:
            await context.call("note", bytes(300_000))
        calls = [asyncio.ensure_future(context.call("wait", number)) for number in range(60)]
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
        await asyncio.sleep(0)
        refused = [task.exception() for task in calls if task.done()]
        stage.gate.set()
        await asyncio.gather(*calls, return_exceptions=True)
        return (
            large.value.size,
            len(refused),
            {(type(error), getattr(error, "executed", None)) for error in refused},
            done,
            waiting,
        )

    outcome: list[Any] = []

    async def kept(context: RequestContext) -> None:
        outcome.extend(await body(context))

    stage.handler(kept)
    await stage.work()
    assert outcome[0] > 300_000
    assert outcome[1:3] == [10, {(Overloaded, Executed.NO)}]
    assert sorted(stage.ran) == list(range(50))


async def test_who_cannot_await_is_told_what_to_do(stage: Stage) -> None:
    def said(context: RequestContext) -> str:
        with pytest.raises(RuntimeError) as caught:
            context.call("note", 1)  # type: ignore[unused-coroutine]
        return str(caught.value)

    stage.server.function(said, name="plain")
    stage.server.function(said, name="thread", thread=True)
    assert "make it async def" in await soon(stage.container.call("plain"))
    assert "register the handler as async def, without thread=True" in await soon(stage.container.call("thread"))


async def test_a_call_belongs_to_its_request(stage: Stage) -> None:
    kept: list[Any] = []

    async def body(context: RequestContext) -> str:
        kept.append(context)
        kept.append(asyncio.ensure_future(context.call("wait", "left behind")))
        await until(lambda: stage.ran)
        return "done"

    stage.handler(body)
    assert await stage.work() == "done"
    with pytest.raises(RequestCancelled) as left:
        await soon(kept[1])
    assert left.value.executed in (Executed.UNKNOWN, Executed.YES)
    await until(lambda: stage.ended == ["left behind"])
    with pytest.raises(RequestCancelled, match="so has the request") as late:
        await kept[0].call("note", "late")
    assert late.value.executed is Executed.NO
    assert stage.ran == ["left behind"]


async def test_deadlines_of_calls(stage: Stage) -> None:
    outcome: list[Any] = []

    async def body(context: RequestContext) -> None:
        with pytest.raises(RequestTimeout) as caught:
            await context.call("wait", "short", timeout=0.3)
        outcome.append(caught.value.executed)
        await context.call("wait", "long", timeout=None)

    stage.handler(body)
    with pytest.raises(RequestTimeout):
        await stage.work(timeout=1.0)
    assert outcome[0] is not Executed.NO
    await until(lambda: stage.ended == ["short", "long"])


async def test_what_is_cancelled_here_ends_there(stage: Stage) -> None:
    async def body(context: RequestContext) -> str:
        call = asyncio.ensure_future(context.call("wait", "given up"))
        await until(lambda: stage.ran)
        call.cancel()
        await asyncio.wait([call])
        await until(lambda: stage.ended == ["given up"])
        return "done"

    stage.handler(body)
    assert await stage.work() == "done"


async def test_a_request_that_is_cancelled_takes_its_calls_along(stage: Stage) -> None:
    async def body(context: RequestContext) -> None:
        await asyncio.gather(*(context.call("wait", number) for number in range(5)))

    stage.handler(body)
    request = asyncio.ensure_future(stage.work())
    await until(lambda: len(stage.ran) == 5)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await until(lambda: sorted(stage.ended) == list(range(5)))


async def test_a_handler_that_goes_on_has_nobody_to_call(stage: Stage) -> None:
    errors: list[Any] = []

    async def body(context: RequestContext) -> None:
        for word in ("while it waits", "afterwards"):
            try:
                await context.call("wait", word)
            except RequestCancelled as error:
                errors.append(error.executed)

    stage.handler(body, cancellable=False)
    request = asyncio.ensure_future(stage.work())
    await until(lambda: stage.ran)
    request.cancel()
    await until(lambda: len(errors) == 2)
    assert errors[0] is not Executed.NO and errors[1] is Executed.NO
    assert stage.ran == ["while it waits"]
    await until(lambda: stage.ended == stage.ran)


async def test_a_function_may_call_other_containers(stage: Stage) -> None:
    other = ContainerServer(name="other")

    @other.function
    async def double(number: int, context: RequestContext) -> Any:
        return await context.call("note", number, twice=True)

    async with other:
        remote_id = uuid.uuid4()
        await stage.worker.connect(remote_id, await other.bind("tcp://127.0.0.1:0"))

        @stage.worker.function
        async def relay(number: int) -> Any:
            return await stage.worker.service().call(remote_id, "double", number)

        async def body(context: RequestContext) -> Any:
            return await context.call("relay", 21)

        stage.handler(body)
        assert await stage.work() == [21, 21]
        await stage.worker.disconnect(remote_id)


@pytest.mark.parametrize("when", ["it runs", "it has ended"])
async def test_a_connection_that_breaks_in_a_call_runs_nothing_twice(stage: Stage, when: str) -> None:
    async def body(context: RequestContext) -> Any:
        return await context.call("wait", "once")

    stage.handler(body)
    request = asyncio.ensure_future(stage.work())
    await until(lambda: stage.ran)
    if when == "it runs":
        await stage.lose()
        stage.gate.set()
    else:
        await stage.proxy.cut()
        stage.gate.set()
        await until(lambda: stage.ended)
        stage.proxy.restore()
    assert await request == "once"
    assert stage.ran == ["once"]


async def test_calls_go_on_over_many_losses(stage: Stage) -> None:
    async def body(context: RequestContext) -> int:
        answers = []
        for step in range(300):
            answers += await asyncio.gather(*(context.call("note", [step, lane]) for lane in range(4)))
        return len(answers)

    stage.handler(body)
    request = asyncio.ensure_future(stage.work())
    losses = 0
    while not request.done() and losses < 8:
        before = len(stage.ran)
        await until(partial(lambda most: len(stage.ran) >= most or request.done(), before + 40))
        if not request.done():
            losses += 1
            await stage.lose()
    assert await request == 1200
    assert losses >= 5
    assert sorted(stage.ran) == [[step, lane] for step in range(300) for lane in range(4)]


async def test_a_call_made_while_the_engine_is_away_waits_for_it(stage: Stage) -> None:
    went = asyncio.Event()

    async def body(context: RequestContext) -> Any:
        await went.wait()
        with pytest.raises(RequestTimeout) as caught:
            await context.call("note", "too short", timeout=0.1)
        assert caught.value.executed is not Executed.YES
        call = asyncio.ensure_future(context.call("note", "later"))
        await asyncio.sleep(0.05)
        stage.proxy.restore()
        return await call

    stage.handler(body)
    request = asyncio.ensure_future(stage.work())
    await until(lambda: stage.server.statistics().in_flight)
    await stage.proxy.cut()
    went.set()
    assert await request == "later"
    assert stage.ran == ["later"]


async def test_an_engine_that_leaves_ends_the_calls_to_it(stage: Stage) -> None:
    errors: list[Any] = []

    async def body(context: RequestContext) -> None:
        try:
            await context.call("wait", 1)
        except Exception as error:
            errors.append(error)
        try:
            await context.call("wait", 2)
        except Exception as error:
            errors.append(error)

    stage.handler(body, cancellable=False)
    request = asyncio.ensure_future(stage.container.call("work"))
    await until(lambda: stage.ran)
    await stage.container.disconnect()
    await until(lambda: len(errors) == 2)
    assert [type(error) for error in errors] == [ConnectionClosed, ConnectionClosed]
    assert errors[0].executed is not Executed.NO and errors[1].executed is Executed.NO
    assert stage.ended == [1]
    with pytest.raises(ConnectionClosed):
        await request


async def test_a_worker_that_closes_ends_its_functions(stage: Stage) -> None:
    async def body(context: RequestContext) -> None:
        await context.call("wait", 1)

    stage.handler(body)
    request = asyncio.ensure_future(stage.container.call("work"))
    await until(lambda: stage.ran)
    await soon(stage.worker.close())
    assert stage.ended == [1]
    with pytest.raises(ConnectionClosed):
        await request


async def test_a_container_that_closes_ends_its_calls(stage: Stage) -> None:
    async def body(context: RequestContext) -> None:
        await context.call("wait", 1)

    stage.handler(body)
    request = asyncio.ensure_future(stage.container.call("work"))
    await until(lambda: stage.ran)
    await soon(stage.server.close())
    with pytest.raises((RequestCancelled, ConnectionClosed)):
        await request
    await until(lambda: stage.ended == [1])


async def test_a_draining_container_may_still_call(stage: Stage) -> None:
    async def body(context: RequestContext) -> Any:
        first = await context.call("wait", 1)
        return [first, await context.call("note", 2)]

    stage.handler(body)
    request = asyncio.ensure_future(stage.work())
    await until(lambda: stage.ran)
    drain = asyncio.ensure_future(stage.server.drain())
    await until(lambda: stage.container.state == "DRAINING")
    stage.gate.set()
    assert await request == [1, 2]
    await soon(drain)


async def test_many_calls_at_once(stage: Stage) -> None:
    """More messages than anything unasked would be let through."""

    async def body(context: RequestContext) -> int:
        payload = bytes(20_000)  # travels alone
        return len(await asyncio.gather(*(context.call("note", payload) for _ in range(3000))))

    stage.handler(body)
    events = stage.worker.service().events()
    assert await stage.work() == 3000
    assert len(stage.ran) == 3000
    assert stage.container.statistics().reconnects == 0
    del events


async def test_answers_are_not_kept_for_ever(stage: Stage) -> None:
    known: list[int] = []

    async def body(context: RequestContext) -> None:
        for step in range(500):
            await context.call("note", step)
            with_timeout = asyncio.ensure_future(context.call("wait", -1))
            await asyncio.sleep(0)
            with_timeout.cancel()
        known.append(len(stage.container._connection._nested_calls._parents))

    stage.handler(body)
    await stage.work()
    assert known[0] < 100


async def test_without_the_deadline_of_the_request(stage: Stage) -> None:
    """A function of the engine that is detached takes its own time."""
    other: list[Any] = []

    @stage.worker.function
    async def remaining(context: RequestContext) -> Any:
        with detached():
            other.append(current_request())
        return context.remaining()

    async def body(context: RequestContext) -> Any:
        return await context.call("remaining", timeout=2.0)

    stage.handler(body)
    assert 0 < await stage.work() < 2.1
    assert other == [None]


async def test_what_yields_or_takes_items_may_call_too(stage: Stage) -> None:
    @stage.server.function
    async def yields(count: int, context: RequestContext) -> AsyncIterator[Any]:
        for step in range(count):
            yield await context.call("note", step)

    @stage.server.function
    async def stores(items: AsyncIterator[int], context: RequestContext) -> int:
        total = 0
        async for item in items:
            total += await context.call("note", item)
        return total

    async with stage.container.stream("yields", 5) as items:
        assert [item async for item in items] == list(range(5))
    assert await soon(stage.container.upload("stores", range(4))) == 6
    assert stage.ran == [*range(5), *range(4)]


async def test_a_stream_that_is_left_takes_its_calls_along(stage: Stage) -> None:
    @stage.server.function
    async def yields(context: RequestContext) -> AsyncIterator[Any]:
        yield "first"
        yield await context.call("wait", "second")

    async with stage.container.stream("yields") as items:
        assert await anext(items) == "first"
        await until(lambda: stage.ran)
    await until(lambda: stage.ended == ["second"])


async def test_a_function_of_a_worker_returns_one_value(stage: Stage) -> None:
    async def yields() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="one value"):
        stage.worker.function(yields)
    with pytest.raises(ValueError, match="already"):
        stage.worker.function(print, name="note")


async def test_what_outlasts_its_request_leaves_nothing(stage: Stage) -> None:
    @stage.worker.function(cancellable=False)
    async def stubborn() -> str:
        stage.ran.append("stubborn")
        await stage.gate.wait()
        stage.ended.append("stubborn")
        return "nobody waits for it"

    async def body(context: RequestContext) -> str:
        call = asyncio.ensure_future(context.call("stubborn"))
        await until(lambda: stage.ran)
        call.add_done_callback(lambda call: call.exception())
        return "done"

    stage.handler(body)
    assert await stage.work() == "done"
    stage.gate.set()
    await until(lambda: stage.ended)


@pytest.mark.parametrize("limits", [Limits(window=1, batch_records=1, in_flight=50)])
async def test_requests_that_wait_do_not_hold_up_answers(stage: Stage) -> None:
    stage.server.function(lambda: None, name="fast")

    async def body(context: RequestContext) -> str:
        for step in range(20):
            await context.call("note", step, timeout=5.0)
        return "done"

    async def hurry() -> None:
        while True:
            await stage.container.call("fast")

    stage.handler(body)
    others = [asyncio.ensure_future(hurry()) for _ in range(40)]
    assert await stage.work() == "done"
    for other in others:
        other.cancel()
    await asyncio.wait(others)


async def test_calls_and_answers_are_never_cut_into_parts(stage: Stage) -> None:
    """Up to 2 MiB they go as one message, and what is larger is told at once."""
    large = FRAGMENT_BYTES
    seen: list[Any] = []

    @stage.worker.function
    def give(size: int) -> memoryview:
        return memoryview(bytes(size))

    async def body(context: RequestContext) -> None:
        seen.append(len(await context.call("note", memoryview(bytes(large - 1000)))))
        with pytest.raises(MessageTooLarge, match="not sent in parts"):
            await context.call("note", memoryview(bytes(large)))
        seen.append(len(await context.call("give", large - 1000)))
        with pytest.raises(RemoteError) as caught:
            await context.call("give", large)
        seen.append(caught.value.error_type)

    stage.handler(body)
    await stage.work()
    assert seen == [large - 1000, large - 1000, "MessageTooLarge"]
