"""Dependencies of handlers: `Annotated[T, Depends(make)]`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Iterator  # noqa: TC003  (a function is asked for what takes a stream)
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest

from mpzmq import (
    CallDetails,
    ComputerEngineWorker,
    ContainerServer,
    Depends,
    Executed,
    InvalidArguments,
    Overloaded,
    Proceed,
    Refused,
    RemoteError,
    RequestContext,
    RequestTimeout,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq import ComputerEngineWriter

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
steps: list[str] = []
gate = threading.Event()


def scoped() -> Iterator[str]:
    token = tenant.set("scoped")
    try:
        yield tenant.get()
    finally:
        tenant.reset(token)  # in the context in which it was set, or it is a ValueError
        steps.append("reset")


class Database:
    """What a dependency makes; it can be told apart from another one."""

    count = 0

    def __init__(self) -> None:
        Database.count += 1
        self.number = Database.count


def settings() -> str:
    steps.append("settings")
    return "settings"


async def pool(settings: Annotated[str, Depends(settings)], size: int = 3) -> str:
    await asyncio.sleep(0)
    steps.append("pool")
    return f"pool of {size} by {settings}"


def database(pool: Annotated[str, Depends(pool)], context: RequestContext) -> Iterator[Database]:
    made = Database()
    steps.append(f"open database of {context.function}")
    try:
        yield made
    except BaseException as error:
        steps.append(f"rollback {type(error).__name__}")
        raise
    finally:
        steps.append("close database")


async def session(
    database: Annotated[Database, Depends(database)], settings: Annotated[str, Depends(settings)]
) -> AsyncIterator[str]:
    steps.append("open session")
    try:
        yield f"session {database.number}"
    finally:
        await asyncio.sleep(0)
        steps.append("close session")


OPENED = ["settings", "pool", "open database of {}", "open session"]
CLOSED = ["close session", "close database"]
WAYS = ["plain", "coroutine", "thread", "request", "stream", "upload", "channel"]

Db = Annotated[Database, Depends(database)]
Session = Annotated[str, Depends(session)]


class Stage:
    """A server with a handler of each form, with two dependencies that share others."""

    def __init__(self, server: ContainerServer) -> None:
        self.server = server
        self.container: ComputerEngineWriter

        def told(way: str, db: Database, session: str, value: Any) -> list[Any]:
            steps.append(f"run {way}")
            if value == "fail":
                raise KeyError("lost")
            return [value, session == f"session {db.number}", tenant.get()]

        @server.function
        def plain(db: Db, value: Any = None, *, session: Session) -> Any:
            return told("plain", db, session, value)

        @server.function
        async def coroutine(value: Any, db: Db, session: Session) -> Any:
            return told("coroutine", db, session, value)

        @server.function(thread=True)
        def thread(value: Any, context: RequestContext, session: Session, db: Db) -> Any:
            assert context.function == "thread" and threading.current_thread() is not threading.main_thread()
            return told("thread", db, session, value)

        @server.on_invoke
        def request(value: Any, db: Db, session: Session) -> Any:
            return told("None", db, session, value)

        @server.function
        async def stream(value: Any, db: Db, session: Session) -> AsyncIterator[Any]:
            yield told("stream", db, session, value)
            yield told("stream", db, session, value)

        @server.function
        async def upload(items: AsyncIterator[Any], db: Db, value: Any, session: Session) -> Any:
            assert [item async for item in items] == [1, 2]
            return told("upload", db, session, value)

        @server.function
        async def channel(session: Session, items: AsyncIterator[Any], db: Db, value: Any) -> AsyncIterator[Any]:
            async for _ in items:
                yield told("channel", db, session, value)

        @server.function(thread=True, max_concurrency=1)
        def blocks(session: Session) -> str:
            steps.append("blocks")
            gate.wait(30)
            steps.append("returns")
            return session

        @server.function
        async def hangs(session: Session) -> None:
            steps.append("hangs")
            await asyncio.Event().wait()

    async def ask(self, way: str, value: Any = "x") -> Any:
        match way:
            case "request":
                return await self.container.request(value)
            case "stream":
                items = [item async for item in self.container.stream("stream", value)]
                return items[-1]
            case "upload":
                return await self.container.upload("upload", [1, 2], value)
            case "channel":
                async with self.container.channel("channel", value) as channel:
                    await channel.send(1)
                    return await anext(channel)
        return await self.container.call(way, value)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    steps.clear()
    gate.clear()
    async with ContainerServer() as server, ComputerEngineWorker() as worker:
        made = Stage(server)
        made.container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        yield made
        gate.set()


def opened(way: str) -> list[str]:
    return [step.format(None if way == "request" else way) for step in OPENED]


@pytest.mark.parametrize("way", WAYS)
async def test_each_is_made_once_for_its_request_and_closed_behind_it(stage: Stage, way: str) -> None:
    before = Database.count
    assert await stage.ask(way) == ["x", True, "nobody"]
    await until(lambda: "close database" in steps)
    runs = [f"run {None if way == 'request' else way}"] * (2 if way == "stream" else 1)
    assert [step for step in steps if "rollback" not in step] == [*opened(way), *runs, *CLOSED]
    assert Database.count == before + 1
    assert await stage.ask(way) == ["x", True, "nobody"]
    assert Database.count == before + 2


@pytest.mark.parametrize("way", WAYS)
async def test_they_see_the_error_and_it_stays_the_requests(stage: Stage, way: str) -> None:
    with pytest.raises(RemoteError) as caught:
        await stage.ask(way, "fail")
    assert caught.value.error_type == "KeyError"
    await until(lambda: "close database" in steps)
    assert steps[-3:] == ["close session", "rollback KeyError", "close database"]


@pytest.mark.parametrize("way", WAYS)
async def test_callers_neither_see_them_nor_can_pass_them(stage: Stage, way: str) -> None:
    if way == "request":
        return
    described = {one.name: one.signature for one in (await stage.container.describe()).functions}
    assert "session" not in described[way] and "db" not in described[way]
    asked: dict[str, Any] = {"stream": stage.container.stream, "channel": stage.container.channel}
    for name in ("db", "session"):
        given: dict[str, Any] = {name: "mine"}
        with pytest.raises(InvalidArguments, match="given by the container") as caught:
            if way in asked:
                await anext(asked[way](way, "x", **given))
            elif way == "upload":
                await stage.container.upload("upload", [1, 2], "x", **given)
            else:
                await stage.container.call(way, "x", **given)
        assert caught.value.executed is Executed.NO
    assert steps == []


async def test_one_more_argument_is_no_dependency(stage: Stage) -> None:
    with pytest.raises(InvalidArguments):
        await stage.container.call("coroutine", "x", "db", "session")
    with pytest.raises(InvalidArguments):
        await stage.container.call("coroutine")
    assert await stage.container.call("plain") == [None, True, "nobody"]
    assert await stage.container.call("coroutine", value="named") == ["named", True, "nobody"]


@pytest.mark.parametrize("kind", [Refused, Overloaded, InvalidArguments])
@pytest.mark.parametrize("way", WAYS)
async def test_one_may_refuse_and_those_before_it_are_closed(stage: Stage, way: str, kind: Any) -> None:
    def refuses(database: Db) -> str:
        raise kind("not today")

    stage.server.overrides[session] = refuses
    with pytest.raises(kind) as caught:
        await stage.ask(way)
    assert caught.value.executed is Executed.NO
    await until(lambda: "close database" in steps)
    assert not any(step.startswith("run") for step in steps)


async def test_any_other_error_of_one_is_the_requests(stage: Stage) -> None:
    async def fails() -> str:
        raise OSError("no database")

    stage.server.overrides[database] = fails
    with pytest.raises(RemoteError) as caught:
        await stage.ask("plain")
    assert caught.value.error_type == "OSError" and caught.value.executed is Executed.YES


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_of_closing_is_the_requests(stage: Stage, way: str) -> None:
    async def fails() -> AsyncIterator[str]:
        yield "session 0"
        raise OSError("the commit failed")

    stage.server.overrides[session] = fails
    stage.server.overrides[database] = lambda: type("Fake", (), {"number": 0})
    if way == "channel":
        with pytest.raises(RemoteError) as caught:
            async with stage.container.channel("channel", "x") as channel:
                await channel.send(1)
                await channel.send_eof()
                async for _ in channel:
                    pass
    else:
        with pytest.raises(RemoteError) as caught:
            await stage.ask(way)
    assert caught.value.error_type == "OSError" and caught.value.executed is Executed.YES
    stage.server.overrides.clear()
    assert await stage.ask("plain") == ["x", True, "nobody"]


async def test_one_cannot_make_a_result_of_an_error(stage: Stage) -> None:
    async def swallows() -> AsyncIterator[str]:
        with contextlib.suppress(Exception):
            yield "session"

    stage.server.overrides[session] = swallows
    for way in WAYS:
        with pytest.raises(RemoteError) as caught:
            await stage.ask(way, "fail")
        assert caught.value.error_type == "KeyError"


async def test_one_yields_once(stage: Stage) -> None:
    def never() -> Iterator[str]:
        yield from ()

    def twice() -> Iterator[str]:
        yield "one"
        yield "two"

    for fake in (never, twice):
        stage.server.overrides[session] = fake
        with pytest.raises(RemoteError, match=r"yield|stop"):
            await stage.ask("plain")


@pytest.mark.parametrize(
    "fake",
    [
        lambda: "session 0",
        functools.partial(lambda number: f"session {number}", 0),
        type("Fake", (), {"__call__": lambda self: "session 0"})(),
    ],
)
async def test_another_takes_its_place(stage: Stage, fake: Any) -> None:
    stage.server.overrides[session] = fake
    stage.server.overrides[database] = lambda: type("Fake", (), {"number": 0})
    for way in WAYS:
        assert await stage.ask(way) == ["x", True, "nobody"]
    assert not any("session" in step or "database" in step for step in steps)
    del stage.server.overrides[session]
    assert (await stage.ask("plain"))[1] is True


async def test_one_that_takes_a_place_is_held_to_the_same_rules(stage: Stage) -> None:
    def needs(unknown: int) -> str:
        return "session"

    def around(session: Session) -> str:
        return session

    fakes: list[Any] = [needs, around, "no function"]
    for fake in fakes:
        stage.server.overrides[session] = fake
        with pytest.raises(RemoteError) as caught:
            await stage.ask("plain")
        assert caught.value.error_type == "TypeError"


class Service:
    """A class may be what makes a dependency."""

    def __init__(self, db: Db) -> None:
        self.db = db


async def test_a_class_is_a_dependency(stage: Stage) -> None:
    @stage.server.function
    def of_a_class(service: Annotated[Any, Depends(Service)], db: Db) -> bool:
        return service.db is db

    assert await stage.container.call("of_a_class") is True


@pytest.mark.parametrize("way", WAYS)
async def test_it_is_made_behind_the_middleware_in_the_same_context(stage: Stage, way: str) -> None:
    found: list[str] = []

    @stage.server.middleware
    async def sets(call: CallDetails, proceed: Proceed) -> Any:
        tenant.set("blue")
        steps.append("middleware")
        return await proceed(call)

    async def reads() -> AsyncIterator[str]:
        found.append(tenant.get())
        yield "session"
        found.append(tenant.get())

    stage.server.overrides[session] = reads
    assert (await stage.ask(way))[2] == "blue"
    await until(lambda: found == ["blue", "blue"])
    assert steps[0] == "middleware"


async def test_a_deadline_closes_them(stage: Stage) -> None:
    with pytest.raises(RequestTimeout):
        await stage.container.call("hangs", timeout=0.1)
    await until(lambda: "close database" in steps)
    assert steps[-4:] == ["hangs", "close session", "rollback CancelledError", "close database"]


async def test_a_caller_that_leaves_a_stream_closes_them(stage: Stage) -> None:
    async with stage.container.stream("stream", "x") as items:
        await anext(items)
    await until(lambda: "close database" in steps)


async def test_they_are_closed_whatever_closing_the_handler_raises(stage: Stage) -> None:
    @stage.server.middleware
    async def shortens(call: CallDetails, proceed: Proceed) -> Any:
        items = await proceed(call)

        async def first() -> AsyncIterator[Any]:
            async for item in items:
                yield item
                return

        return first()

    @stage.server.function
    async def numbers(db: Annotated[Database, Depends(database)]) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            raise SystemExit(3)

    with pytest.raises(RemoteError) as caught:
        async for item in stage.container.stream("numbers"):
            assert item == 1
    assert caught.value.error_type == "SystemExit"
    assert "close database" in steps


async def test_they_are_closed_when_a_thread_that_was_given_up_has_returned(stage: Stage) -> None:
    @stage.server.middleware
    async def hurries(call: CallDetails, proceed: Proceed) -> Any:
        async with asyncio.timeout(0.05):
            return await proceed(call)

    with pytest.raises(RemoteError) as caught:
        await stage.container.call("blocks")
    assert caught.value.error_type == "TimeoutError"
    assert steps[-1] == "blocks"
    gate.set()
    await until(lambda: "close database" in steps)
    assert steps[-3:] == ["returns", *CLOSED]


async def test_a_thread_whose_caller_has_left_closes_them_when_it_returns(stage: Stage) -> None:
    call = asyncio.create_task(stage.container.call("blocks"))
    await until(lambda: "blocks" in steps)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await stage.ask("plain")
    assert steps.count("close database") == 1
    gate.set()
    await until(lambda: steps.count("close database") == 2)
    assert steps[-3:] == ["returns", *CLOSED]


async def test_they_are_closed_in_the_context_in_which_they_were_made_whenever_a_thread_returns(stage: Stage) -> None:
    @stage.server.middleware
    async def hurries(call: CallDetails, proceed: Proceed) -> Any:
        async with asyncio.timeout(0.05):
            return await proceed(call)

    @stage.server.function(thread=True)
    def waits(scope: Annotated[str, Depends(scoped)]) -> None:
        gate.wait(30)

    with pytest.raises(RemoteError):
        await stage.container.call("waits")
    gate.set()
    await until(lambda: "reset" in steps)


def around(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        steps.append("decorated")
        return function(*args, **kwargs)

    return inner


def around_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        steps.append("decorated")
        return function(*args, **kwargs)

    return inner


def first_of(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        steps.append("decorated")
        return contextlib.nullcontext(next(iter(function(*args, **kwargs))))

    return inner


def yielding() -> Iterator[str]:
    steps.append("open")
    yield "yielded"
    steps.append("close")


async def yielding_async() -> AsyncIterator[str]:
    steps.append("open")
    yield "yielded"
    steps.append("close")


@pytest.mark.parametrize(
    "dependency",
    [
        around(yielding),
        around(yielding_async),
        around_async(yielding),
        contextlib.contextmanager(yielding),
        contextlib.asynccontextmanager(yielding_async),
        around(contextlib.asynccontextmanager(yielding_async)),
        functools.partial(around(yielding)),
    ],
)
async def test_what_yields_behind_a_decorator_is_closed_too(stage: Stage, dependency: Any) -> None:
    def handler(value: Any) -> Any:
        steps.append("handler")
        return value

    handler.__annotations__["value"] = Annotated[Any, Depends(dependency)]
    stage.server.function(handler)
    assert await stage.container.call("handler") == "yielded"
    assert [step for step in steps if step != "decorated"] == ["open", "handler", "close"]


async def test_a_decorator_may_make_a_value_of_what_yields(stage: Stage) -> None:
    def handler(value: Any) -> str:
        return type(value).__name__

    handler.__annotations__["value"] = Annotated[Any, Depends(first_of(yielding))]
    stage.server.function(handler)
    assert await stage.container.call("handler") == "nullcontext"


async def test_a_thousand_at_once_have_their_own(stage: Stage) -> None:
    before = Database.count
    ways = ["plain", "coroutine", "request", "coroutine"]
    told = await asyncio.gather(*(stage.ask(ways[number % 4], number) for number in range(1000)))
    assert told == [[number, True, "nobody"] for number in range(1000)]
    assert Database.count == before + 1000 and steps.count("close database") == 1000


async def test_functions_of_a_worker_have_dependencies(stage: Stage) -> None:
    async with ContainerServer() as server, ComputerEngineWorker() as worker:

        @worker.function
        def ask(value: str, session: Session) -> str:
            return f"{value} {session.partition(' ')[0]}"

        @server.function
        async def asks(context: RequestContext) -> Any:
            return await context.call("ask", "a")

        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        assert await container.call("asks") == "a session"
        worker.overrides[session] = lambda: "fake session"
        assert await container.call("asks") == "a fake"
    assert steps[-2:] == CLOSED


# What is no dependency, told when it is registered


def needs_itself(itself: Annotated[Any, Depends(lambda: needs_itself)]) -> None: ...


def circle(other: Annotated[Any, Depends(lambda x: None)]) -> None: ...


def of_nobody(value: int) -> int:
    return value


def by_a_name(other: Annotated[int, Depends(of_nobody)]) -> None: ...


def old_form(db: Any = Depends(database)) -> None: ...  # noqa: B008  (that is what it says)


def bare(db: Annotated[Any, Depends]) -> None: ...


def two(db: Annotated[Any, Depends(database), Depends(settings)]) -> None: ...


def starred(*db: Annotated[Any, Depends(database)]) -> None: ...


def inside(db: list[Annotated[Any, Depends(database)]]) -> None: ...


def optional(db: Annotated[Any, Depends(database)] | None) -> None: ...


def unknown(db: Annotated[Nowhere, Depends(database)]) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def behind(value: int = 1, db: Annotated[Any, Depends(database)] = None, /) -> None: ...


@pytest.mark.parametrize(
    "handler", [by_a_name, circle, old_form, bare, two, starred, inside, optional, unknown, behind]
)
def test_what_is_no_dependency(handler: Any) -> None:
    with pytest.raises(TypeError):
        ContainerServer().function(handler)


def recursive(other: Annotated[Any, Depends(lambda: None)]) -> None: ...


recursive.__annotations__["other"] = Annotated[Any, Depends(recursive)]


def test_a_circle_is_found() -> None:
    with pytest.raises(TypeError, match="itself"):
        ContainerServer().function(recursive)


@pytest.mark.parametrize("given", [None, 3, "database", []])
def test_what_makes_nothing(given: Any) -> None:
    with pytest.raises(TypeError):
        Depends(given)


def test_other_annotations_are_none_of_its_business() -> None:
    server = ContainerServer()

    @server.function
    def fine(a: Annotated[int, "metadata"], b: Literal["Depends"], c: Annotated[int, 3] = 3) -> None: ...

    assert [*server._registry.functions["fine"].signature.parameters] == ["a", "b", "c"]
