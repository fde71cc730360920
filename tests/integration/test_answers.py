"""Promise 12: whatever a handler returns or raises, its caller hears, and nobody else is touched."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import inspect
import logging
import uuid
from collections.abc import AsyncIterator  # noqa: TC003  (functions are asked for what takes a stream)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ConnectionClosed,
    ContainerServer,
    EncodeError,
    Executed,
    InvalidArguments,
    RemoteError,
    RequestCancelled,
    RequestContext,
    RequestTimeout,
    Status,
    Unsupported,
)
from tests.support.odd import RAISED, RESULTS, Lazy, NoText, NoTraceback
from tests.support.scene import adds_up
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.container import Start

FORMS = ["plain", "coroutine", "thread", "narrow", "stream", "of the worker", "coroutine of the worker"]
"""Every way in which what a handler makes becomes an answer."""

NEIGHBOURS = 6


@dataclass
class Stage:
    """A container, and two engines of which one asks for odd things."""

    server: ContainerServer
    odd: ComputerEngineWriter
    other: ComputerEngineWriter

    async def among_others(self, name: str, *args: Any) -> Any:
        """Calls a function in one burst with others, of this engine and another, which must all be answered."""
        calls = [container.call("ok", number) for number in range(NEIGHBOURS) for container in (self.odd, self.other)]
        asked = self._stream(name) if name.endswith("/stream") else self.odd.call(name, *args)
        mid = NEIGHBOURS // 2
        outcome, *others = await soon(
            asyncio.gather(asked, *calls[:mid], *calls[mid:], return_exceptions=True),
        )
        assert others == [number for number in range(NEIGHBOURS) for _ in range(2)]
        return outcome

    async def _stream(self, name: str) -> list[Any]:
        return [item async for item in self.odd.stream(name)]

    async def settled(self) -> None:
        """Nothing is at work any more, on either side, and the books add up."""
        await until(lambda: not self.server.statistics().in_flight)
        for container in (self.odd, self.other):
            assert adds_up(container.statistics())
            assert container.statistics().reconnects == 0


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    server = ContainerServer(name="stage")
    async with server, ComputerEngineWorker() as worker, ComputerEngineWorker() as another:

        @server.function
        def ok(number: int) -> int:
            return number

        for what, make in _makers():
            _register(server, worker, what, make)
        endpoint = await server.bind("tcp://127.0.0.1:0")
        odd = await worker.connect(uuid.uuid4(), endpoint, name="odd")
        yield Stage(server, odd, await another.connect(uuid.uuid4(), endpoint, name="other"))


def _makers() -> Iterator[tuple[str, Callable[[], Any]]]:
    yield from RESULTS.items()
    for what, (make, _, _) in RAISED.items():
        yield what, make


def _register(server: ContainerServer, worker: ComputerEngineWorker, what: str, make: Callable[[], Any]) -> None:
    async def coroutine() -> Any:
        await asyncio.sleep(0)
        return make()

    async def stream() -> AsyncIterator[Any]:
        yield 1
        yield make()

    async def through(context: RequestContext) -> Any:
        try:
            return await context.call(what)
        except RemoteError as error:
            return [error.error_type, error.error_message]

    async def through_coroutine(context: RequestContext) -> Any:
        try:
            return await context.call(f"{what}/coroutine")
        except RemoteError as error:
            return [error.error_type, error.error_message]

    server.function(make, name=f"{what}/plain")
    server.function(coroutine, name=f"{what}/coroutine")
    server.function(make, name=f"{what}/thread", thread=True)
    server.function(make, name=f"{what}/narrow", max_concurrency=1)
    server.function(stream, name=f"{what}/stream")
    worker.function(make, name=what)
    worker.function(coroutine, name=f"{what}/coroutine")
    server.function(through, name=f"{what}/of the worker")
    server.function(through_coroutine, name=f"{what}/coroutine of the worker")


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Of these errors pytest would keep the log, and could not hand it on: some have a lone surrogate."""
    caplog.set_level(logging.CRITICAL + 1, "mpzmq")


def _heard(outcome: Any) -> tuple[str, str]:
    """The type and text of a failure that a caller heard of, from the container or through it."""
    if isinstance(outcome, list):
        error_type, message = outcome
        return error_type, message
    assert isinstance(outcome, RemoteError), outcome
    assert outcome.executed is Executed.YES
    return outcome.error_type, outcome.error_message


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("form", FORMS)
async def test_odd_results(stage: Stage, form: str) -> None:
    for what in RESULTS:
        error_type, text = _heard(await stage.among_others(f"{what}/{form}"))
        path = "item" if form == "stream" else "result"
        assert error_type == "EncodeError" and text.startswith(f"cannot send {path}"), what
    await stage.settled()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("form", FORMS)
async def test_odd_errors(stage: Stage, form: str) -> None:
    for what, (_, expected, part) in RAISED.items():
        error_type, text = _heard(await stage.among_others(f"{what}/{form}"))
        assert error_type == expected and part in text, what
    await stage.settled()


async def test_the_path_of_what_raises_when_it_is_read(stage: Stage) -> None:
    outcome = await stage.among_others("one inside/plain")
    assert "cannot send result[1]['a']: memoryview, and reading it raised ValueError" in outcome.error_message


async def test_an_error_whose_data_cannot_be_sent_keeps_its_code_and_its_message(stage: Stage) -> None:
    @stage.server.function
    def declines() -> NoReturn:
        raise RemoteError("declined", code="insufficient_funds", data={"account": Lazy()})

    outcome = await stage.among_others("declines")
    assert (outcome.error_type, outcome.code, outcome.data) == ("EncodeError", "insufficient_funds", None)
    assert "RemoteError['data']['account']: Lazy" in outcome.error_message and "declined" in outcome.error_message


@pytest.mark.parametrize("error", [AttributeError, SystemExit, GeneratorExit])
async def test_wrong_arguments_where_the_signature_cannot_be_shown(stage: Stage, error: type[BaseException]) -> None:
    def handler(x: int, y: Any = 1, *, z: Any = 2) -> int:
        return x

    handler.__defaults__, handler.__kwdefaults__ = (NoText(),), {"z": Lazy()}
    handler.__annotations__["y"] = NoText(error)
    stage.server.function(handler)
    outcome = await stage.among_others("handler")
    assert isinstance(outcome, InvalidArguments) and "missing a required argument: 'x'" in str(outcome)
    assert f"handler(x: int, y: <NoText, whose text cannot be had: {error.__name__}> = <NoText" in str(outcome)
    await stage.settled()


@pytest.mark.parametrize("error", [LookupError, SystemExit])
async def test_a_signature_that_cannot_be_asked(stage: Stage, error: type[BaseException]) -> None:
    class Odd(inspect.Signature):
        def bind(self, *args: Any, **kwargs: Any) -> NoReturn:
            raise error("no signature")

    def handler(x: int) -> int:
        return x

    handler.__signature__ = Odd.from_callable(handler)  # type: ignore[attr-defined]
    stage.server.function(handler)
    outcome = await stage.among_others("handler")
    assert isinstance(outcome, InvalidArguments) and outcome.executed is Executed.NO
    assert "no signature; it is handler(x: 'int') -> 'int'" in str(outcome)
    assert await stage.among_others("handler", 5) == 5
    await stage.settled()


@pytest.mark.parametrize("error", [LookupError, SystemExit])
async def test_a_task_that_cannot_be_made(stage: Stage, error: type[BaseException]) -> None:
    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        if work.__qualname__ == "Dispatcher._run":
            raise error("no task")
        return asyncio.Task(work, loop=loop, **options)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        for form in ("coroutine", "thread"):
            outcome = await stage.among_others(f"of None/{form}")
            # From Python 3.12 on the library makes its tasks itself, so that they begin at once.
            assert outcome.error_type in (error.__name__, "RemoteError")
    finally:
        loop.set_task_factory(None)
    await stage.settled()


async def test_what_a_handler_awaits_may_not_let_itself_be_cancelled(stage: Stage) -> None:
    class Stubborn(asyncio.Future[None]):
        def cancel(self, msg: object = None) -> NoReturn:
            raise LookupError("not now")

    stubborn: list[Stubborn] = []
    ended = asyncio.Event()

    @stage.server.function
    async def waits() -> None:
        stubborn.append(Stubborn())
        await stubborn[0]

    @stage.server.function
    async def sleeps() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    calls = [stage.odd.call(name, timeout=0.2) for name in ("waits", "sleeps")]
    outcomes = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert all(isinstance(outcome, RequestTimeout) for outcome in outcomes)
    await soon(ended.wait())  # its deadline came in the same moment
    stubborn[0].set_result(None)
    await stage.settled()


@contextlib.contextmanager
def _broken_log(name: str, error: BaseException) -> Iterator[list[str]]:
    """The application has a filter on a logger, and a handler above it, that raise."""
    lines: list[str] = []

    class Breaks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> NoReturn:
            raise error

    def breaks(record: logging.LogRecord) -> bool:
        lines.append(record.getMessage())
        if len(lines) % 2:
            raise error
        return True

    handler, logger = Breaks(), logging.getLogger(name)
    logging.getLogger("mpzmq").addHandler(handler)
    logger.addFilter(breaks)
    try:
        yield lines
    finally:
        logging.getLogger("mpzmq").removeHandler(handler)
        logger.removeFilter(breaks)


@pytest.mark.parametrize("error", [LookupError("no log"), SystemExit(1)], ids=["error", "exit"])
async def test_a_log_that_raises(stage: Stage, error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    with _broken_log("mpzmq.handlers.dispatcher", error) as lines:
        for form in FORMS:
            _heard(await stage.among_others(f"a lazy proxy/{form}"))
            _heard(await stage.among_others(f"of an int/{form}"))
        await stage.settled()
    assert len(lines) >= 2 * len(FORMS) - 2
    assert "was not logged" in capsys.readouterr().err


async def test_a_log_that_raises_while_links_come_and_go(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mpzmq")
    with _broken_log("mpzmq.engine.link_driver", LookupError("no log")) as lines:
        async with ContainerServer() as server, ComputerEngineWorker() as worker:
            server.on_invoke(lambda data: data)
            container = await soon(worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0")))
            assert await soon(container.request(1)) == 1
    assert lines


@pytest.mark.parametrize("form", FORMS)
async def test_exit_ends_the_request_and_not_the_container(
    stage: Stage, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    error_type, text = _heard(await stage.among_others(f"exit/{form}"))
    assert error_type == "SystemExit"
    assert text == "sys.exit(3) in a handler ends its request, and not the process"
    await stage.settled()
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1 and "raised" in told[0].getMessage()
    assert await stage.among_others("ok", 1) == 1


async def test_an_interrupt_ends_the_container_and_its_caller_is_told(start: Start) -> None:
    container = await start()
    async with ComputerEngineWorker() as worker:
        handle = await worker.connect(uuid.uuid4(), container.endpoint)
        with pytest.raises((RequestCancelled, ConnectionClosed)):
            await soon(handle.call("interrupts"))
        await soon(container.wait())


async def test_the_callback_of_progress_may_raise_anything(stage: Stage) -> None:
    def callback(progress: object) -> NoReturn:
        raise SystemExit(NoText())

    @stage.server.on_invoke
    def size(data: bytes) -> int:
        return len(data)

    large = bytes(3 << 20)
    calls = [stage.odd.request(large, progress=callback), stage.odd.request(large), stage.odd.call("ok", 1)]
    assert await soon(asyncio.gather(*calls)) == [len(large), len(large), 1]


async def test_arguments_that_raise_when_they_are_read(stage: Stage) -> None:
    for what, make in RESULTS.items():
        with pytest.raises(EncodeError, match=r"cannot send args\[1\]"):
            await stage.odd.call("ok", 1, make())
        with pytest.raises(EncodeError, match=r"cannot send kwargs\['x'\]"):
            await stage.odd.call("ok", 1, x=make())
        with pytest.raises(EncodeError, match=r"cannot send metadata\['x'\]"):
            await stage.odd.call("ok", 1, metadata={"x": make()})
        assert await stage.odd.call("ok", what) == what
    await stage.settled()


async def test_a_name_of_a_class_of_its_own_is_no_more_than_its_text(stage: Stage) -> None:
    class Name(str):
        __slots__ = ()

        def __repr__(self) -> str:
            raise LookupError("no text")

        __str__ = __format__ = __repr__  # type: ignore[assignment]

    with pytest.raises(Unsupported, match="it has no function 'nothing'"):
        await soon(stage.odd.call(Name("nothing")))


async def test_an_error_without_any_text_in_a_log_line(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    @stage.server.function
    def raises() -> NoReturn:
        raise NoTraceback

    _heard(await stage.among_others("raises"))
    await stage.settled()


async def test_a_context_that_cannot_be_copied() -> None:
    class Odd(decimal.Context):
        is_broken = False

        def copy(self) -> decimal.Context:
            if Odd.is_broken:
                raise LookupError("no copy")
            return super().copy()

    server = ContainerServer()
    server.function(lambda number: number, name="plain")

    @server.function
    async def coroutine(number: int) -> int:
        return number

    async with server, ComputerEngineWorker() as worker:
        decimal.setcontext(Odd())
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        for name in ("plain", "coroutine"):
            Odd.is_broken = True
            with pytest.raises(RemoteError, match="LookupError: no copy") as caught:
                await soon(container.call(name, 1))
            assert caught.value.error_type == "LookupError"
            Odd.is_broken = False
            assert await soon(container.call(name, 1)) == 1
        counted = server.statistics()
        assert (counted.received, counted.replied, counted.failed, counted.in_flight) == (4, 2, 2, 0)


async def test_a_state_change_may_do_anything(stage: Stage) -> None:
    outcomes: list[Callable[[], Any]] = [RESULTS["a lazy proxy"], RAISED["exit"][0], RAISED["without text"][0], list]
    stage.server.on_state_change(lambda status: outcomes.pop(0)())
    await soon(stage.odd.set_state(Status.STOP))  # whatever it returns
    for expected in ("SystemExit", "NoTraceback"):
        with pytest.raises(RemoteError) as caught:
            await soon(stage.odd.set_state(Status.RUNNING))
        assert caught.value.error_type == expected and stage.server.status is Status.STOP
    await soon(stage.odd.set_state(Status.RUNNING))
    assert await stage.among_others("ok", 1) == 1
    await stage.settled()


async def test_the_value_of_a_lifespan_may_be_anything() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(server: ContainerServer) -> AsyncIterator[Any]:
        yield Lazy()

    server = ContainerServer(lifespan=lifespan)

    @server.function
    def state(context: RequestContext) -> bool:
        return type(context.state) is Lazy and "RequestContext" in repr(context)

    async with server, ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        assert await soon(container.call("state"))


async def test_odd_items_of_uploads_and_channels(stage: Stage) -> None:
    @stage.server.function
    async def count(items: AsyncIterator[Any]) -> int:
        return len([item async for item in items])

    @stage.server.function
    async def echo(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in items:
            yield item

    for what, make in RESULTS.items():
        with pytest.raises(EncodeError, match="cannot send item"):
            await soon(stage.odd.upload("count", [1, make(), 2]))

        def items() -> Iterator[int]:
            yield 1
            raise NoTraceback

        with pytest.raises(NoTraceback):
            await soon(stage.odd.upload("count", items()))
        async with stage.odd.channel("echo") as channel:
            with pytest.raises(EncodeError, match="cannot send item"):
                await soon(channel.send(make()))
            await soon(channel.send(what))  # the channel goes on
            assert await soon(anext(channel)) == what
    assert await stage.among_others("ok", 1) == 1
    await stage.settled()
