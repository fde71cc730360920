"""Context variables: each request runs in a copy of the context of the bind, and sees nothing of the others."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import logging
import uuid
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ComputerEngineWorker, ContainerServer, RequestContext, Status, current_request
from tests.support.waiting import soon

if TYPE_CHECKING:
    from mpzmq import ComputerEngineWriter, Progress

seen_by: ContextVar[str] = ContextVar("seen_by", default="nobody")

FORMS = [
    "plain", "coroutine", "wrapped", "thread", "narrow", "narrow_coroutine", "invoke", "stream", "upload", "channel",
    "state", "of_the_worker", "coroutine_of_the_worker",
]  # fmt: skip
"""Every way in which code of the application is run for a request."""


@dataclass
class Stage:
    """A container with a function of each form. Each returns what it finds, and leaves a value of its own behind."""

    server: ContainerServer
    worker: ComputerEngineWorker
    container: ComputerEngineWriter
    states: list[str]

    async def ask(self, form: str, value: str, container: ComputerEngineWriter | None = None) -> str:
        """Lets a handler of that form set the variable; returns what it found there."""
        container = container or self.container
        if form == "invoke":
            found = container.request(value)
        elif form == "stream":
            async for item in container.stream("stream", value):
                return str(item)
        elif form == "upload":
            found = container.upload("upload", [value])
        elif form == "channel":
            async with container.channel("channel") as channel:
                await channel.send(value)
                return str(await anext(channel))
        elif form == "state":
            await container.set_state(Status.RUNNING)
            return self.states[-1]
        elif form.endswith("of_the_worker"):
            found = container.call("through", form, value)
        else:
            found = container.call(form, value)
        return str(await soon(found))


def _exchange(value: str) -> str:
    context = current_request()
    assert context is not None
    found, _ = seen_by.get(), seen_by.set(value)
    return found


def _functions(stage: Stage) -> None:
    server, worker = stage.server, stage.worker

    async def coroutine(value: str) -> str:
        found = _exchange(value)
        await asyncio.sleep(0)
        assert seen_by.get() == value
        return found

    def wrapped(value: str) -> Any:
        return coroutine(value)

    server.function(_exchange, name="plain")
    server.function(coroutine)
    server.function(wrapped)
    server.function(_exchange, name="thread", thread=True)
    server.function(_exchange, name="narrow", max_concurrency=1)
    server.function(coroutine, name="narrow_coroutine", max_concurrency=1)
    server.on_invoke(_exchange)
    worker.function(_exchange, name="of_the_worker")
    worker.function(coroutine, name="coroutine_of_the_worker")

    @server.function
    async def stream(value: str) -> AsyncIterator[str]:
        yield _exchange(value)

    @server.function
    async def upload(items: AsyncIterator[str]) -> str:
        return _exchange(await anext(aiter(items)))

    @server.function
    async def channel(items: AsyncIterator[str]) -> AsyncIterator[str]:
        async for value in items:
            yield _exchange(value)

    @server.function
    async def through(context: RequestContext, form: str, value: str) -> Any:
        return await context.call(form, value)

    @server.on_state_change
    def changed(status: Status) -> None:
        stage.states.append(_exchange("state"))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    @contextlib.asynccontextmanager
    async def lifespan(server: ContainerServer) -> AsyncIterator[None]:
        seen_by.set("the lifespan")
        yield

    server = ContainerServer(lifespan=lifespan)
    async with server, ComputerEngineWorker() as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        seen_by.set("the lifespan")  # functions of the worker run in the context of connect()
        container = await worker.connect(uuid.uuid4(), endpoint)
        made = Stage(server, worker, container, [])
        _functions(made)
        yield made


async def test_no_request_sees_what_another_has_set(stage: Stage) -> None:
    for form in FORMS:
        assert await stage.ask(form, f"{form} was here") == "the lifespan", form
    for form in FORMS:
        assert await stage.ask(form, "again") == "the lifespan", form


async def test_nor_does_the_request_of_another_engine(stage: Stage) -> None:
    async with ComputerEngineWorker() as other:
        container = await other.connect(uuid.uuid4(), stage.container.address)
        for form in FORMS[:-2]:
            await stage.ask(form, f"{form} was here")
        for form in FORMS[:-2]:
            assert await stage.ask(form, "again", container) == "the lifespan", form


@pytest.mark.parametrize("form", ["narrow", "narrow_coroutine", "thread", "plain", "wrapped"])
async def test_those_that_wait_for_one_another_do_not_either(stage: Stage, form: str) -> None:
    found = await soon(asyncio.gather(*(stage.ask(form, f"run {run}") for run in range(6))))
    assert set(found) == {"the lifespan"}


async def test_what_is_set_beside_a_bind_is_not_seen(stage: Stage) -> None:
    seen_by.set("the caller")
    assert await stage.ask("plain", "") == await stage.ask("coroutine", "") == "the lifespan"


async def test_a_task_that_a_handler_leaves_behind_keeps_its_context(stage: Stage) -> None:
    found: asyncio.Future[tuple[str, Any]] = asyncio.get_running_loop().create_future()
    go_on = asyncio.Event()

    async def later() -> None:
        await go_on.wait()
        context = current_request()
        assert context is not None
        found.set_result((seen_by.get(), context.function))

    tasks: list[asyncio.Task[None]] = []

    @stage.server.function
    def starts() -> None:
        seen_by.set("its starter")
        tasks.append(asyncio.create_task(later()))

    await stage.container.call("starts")
    await stage.ask("plain", "another")
    go_on.set()
    assert await soon(found) == ("its starter", "starts")


@pytest.mark.parametrize("precise", [None, 50], ids=["in no context", "in the context of the bind"])
async def test_decimal_contexts_are_not_shared(precise: int | None) -> None:
    """They can be changed in place, and those that were there before the bind are in every copy of its context."""

    @contextlib.asynccontextmanager
    async def lifespan(server: ContainerServer) -> AsyncIterator[None]:
        if precise is not None:
            decimal.getcontext().prec = precise
        yield

    def divide() -> str:
        found = str(decimal.Decimal(1) / 3)
        decimal.getcontext().prec = 3
        return found

    async def divide_later() -> str:
        return divide()

    server = ContainerServer(lifespan=lifespan)
    for name in "plain", "narrow", "thread":
        server.function(divide, name=name, thread=name == "thread", max_concurrency=1 if name == "narrow" else None)
    server.function(divide_later)
    async with server, ComputerEngineWorker() as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        container = await worker.connect(uuid.uuid4(), endpoint)
        with decimal.localcontext(prec=precise or 28):
            third = str(decimal.Decimal(1) / 3)
        for name in 2 * ("plain", "narrow", "thread", "divide_later"):
            assert await container.call(name) == third, name


async def test_a_log_line_on_a_plain_handler_stands_in_its_request(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    functions: list[Any] = []

    def note(record: logging.LogRecord) -> bool:
        context = current_request()
        functions.append(None if context is None else context.function)
        return True

    @stage.server.function
    def fails() -> None:
        raise LookupError

    logger = logging.getLogger("mpzmq.handlers.dispatcher")
    logger.addFilter(note)
    try:
        with pytest.raises(Exception, match="LookupError"):
            await stage.container.call("fails")
    finally:
        logger.removeFilter(note)
    assert functions == ["fails"]


async def test_progress_is_told_in_the_context_of_its_caller(stage: Stage) -> None:
    found: list[str] = []

    def told(progress: Progress) -> None:
        found.append(seen_by.get())
        seen_by.set("the callback")

    async def ask(name: str) -> None:
        seen_by.set(name)
        await stage.container.function("plain", progress=told)(bytes(3 << 20))
        assert seen_by.get() == name

    for name in "alice", "bob":
        before = len(found)
        await soon(asyncio.create_task(ask(name)))
        assert found[before] == name
