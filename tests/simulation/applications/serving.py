"""The container of an odd application: its middleware, dependencies, handlers, words for errors, and its lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import weakref
from collections.abc import AsyncIterator, Iterator  # noqa: TC003  (a function is asked for what takes a stream)
from typing import TYPE_CHECKING, Annotated, Any

from mpzmq import ContainerServer, Depends, HeartbeatPolicy, RemoteError, RequestContext, current_request

from ..odd import odd_answer
from .acts import SHARED, around, is_swallowed, raise_plain, refuse
from .books import Closing, Dependency, Run, Served, books_of_now, run_of_now
from .plan import BLOCK, HANG, ITEMS, STUBBORN

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq import CallDetails, Proceed
    from mpzmq.handlers.registry import Registry
    from mpzmq.testing.simnet.network import MemoryHost, MemoryNetwork

    from .books import Books
    from .plan import Ask

__all__ = ["HEARTBEAT", "Process", "endpoint"]

HEARTBEAT = HeartbeatPolicy(interval=1.0, down_after=2.5)

END_TIMEOUT = 30.0
"""Seconds that the end of a lifespan may take."""

ENDLESS = 2 * END_TIMEOUT

_lived: contextvars.ContextVar[Served | None] = contextvars.ContextVar("lived", default=None)
"""Set by the lifespan."""


def endpoint(container: int) -> str:
    """Where a container listens."""
    return f"tcp://127.0.0.1:{4010 + container}"


class Process:
    """One incarnation of a container."""

    def __init__(self, network: MemoryNetwork, books: Books, container: int, lifespan: str) -> None:
        number = sum(served.container == container for served in books.served)
        self.served = Served(container, number)
        books.served.append(self.served)
        self.host: MemoryHost = network.host()
        self.server = ContainerServer(name=str(self.served), lifespan=self._live, heartbeat=HEARTBEAT)
        self.server._transport = self.host
        self.server._registry = _registry(books.plan.layers, books.plan.mapping)
        self._kind = lifespan
        self._books = books

    @contextlib.asynccontextmanager
    async def _live(self, server: ContainerServer) -> AsyncIterator[Process]:
        books, kind = self._books, self._kind
        books.acts.add(f"lifespan:{kind}")
        _lived.set(self.served)
        if kind == "raises_at_start":
            raise LookupError("no start")
        if kind == "hangs_at_start":
            await asyncio.sleep(HANG)
        yield self
        if kind == "raises_at_end":
            raise LookupError("no end")
        if kind == "hangs_at_end":
            await asyncio.sleep(ENDLESS)
        if kind == "blocks_at_end":
            books.block(BLOCK)
        if kind == "stubborn_at_end":
            try:
                await asyncio.sleep(ENDLESS)
            except asyncio.CancelledError:
                await asyncio.sleep(STUBBORN)

    async def open(self) -> bool:
        """Begins to serve; False: its lifespan did not start, and nothing of it is left."""
        closing = Closing(f"start of {self.served}", self._books.loop.time(), 1.6)
        self._books.closings.append(closing)
        try:
            async with asyncio.timeout(1.0):
                await self.server.bind(endpoint(self.served.container))
        except (LookupError, TimeoutError):
            closing.ended = self._books.loop.time()
            await self.close()
            return False
        closing.ended = self._books.loop.time()
        return True

    async def drain(self, timeout: float) -> None:
        """Drains, and closes."""
        await self._bounded(f"drain of {self.served}", timeout + 0.5, self.server.drain(timeout))
        await self.close()

    async def close(self) -> None:
        """Ends; its counters have to add up behind it."""
        books = self._books
        if self.served.ended_at is None:
            self.served.ended_at = books.loop.time()
        lifespan = END_TIMEOUT + 1.0 if self._kind in ("hangs_at_end", "stubborn_at_end") else 0.0
        await self._bounded(f"close of {self.served}", 1.5 + lifespan, self.server.close())
        self.sample()

    def sample(self) -> None:
        """Looks whether its counters add up."""
        seen = self.server.statistics()
        ends = seen.replied + seen.failed + seen.refused + seen.cancelled + seen.in_flight
        self._books.sums.append((f"{self.served} received", seen.received, ends))
        if self.server._lifecycle.is_closed:
            self._books.sums.append((f"{self.served} in flight when closed", seen.in_flight, 0))

    async def _bounded(self, what: str, bound: float, end: Any) -> None:
        closing = Closing(what, self._books.loop.time(), bound)
        self._books.closings.append(closing)
        try:
            await end
        except LookupError:
            if self._kind != "raises_at_end":
                raise
        closing.ended = self._books.loop.time()


# Every piece of the application that works for a request comes through here.


def _enter(number: Any, place: str, kind: str) -> tuple[Books, Run]:
    books, context = books_of_now(), current_request()
    assert context is not None
    process: Process = context.state
    ask, run = books.ask(number), run_of_now.get()
    request_id = context.request_id.int
    if run is None:
        run = Run(ask, process.served, request_id, books.loop.time())
        books.runs.append(run)
        run_of_now.set(run)
    elif (run.ask, run.served, run.request_id) != (ask, process.served, request_id):
        books.wrong.append(("context", f"{place} of #{number} at {process.served} is in the context of {run}"))
    if _lived.get() is not process.served:
        books.wrong.append(("context", f"{place} of #{number} does not see what its lifespan has set"))
    books.acts.add(f"{place}:{kind}")
    return books, run


def _layer(index: int) -> Any:
    async def layer(call: CallDetails, proceed: Proceed) -> Any:
        number = call.metadata["ask"]
        kind = books_of_now().ask(number).layers[index]
        books, run = _enter(number, "layer", kind)
        return await around(kind, run.ask, call, proceed, layer, books)

    return layer


def _says(call: CallDetails, error: LookupError) -> Any:
    number = call.metadata["ask"]
    kind = books_of_now().ask(number).mapping
    books, run = _enter(number, "mapping", kind)
    match kind:
        case "raises":
            raise_plain(run.ask)
        case "wrong":
            return ValueError("no RemoteError")
        case "itself":
            return _says
        case "cancels":
            raise asyncio.CancelledError
        case "shared":
            return _WORD
        case "odd":
            return odd_answer(number)
        case "blocks":
            books.block(BLOCK)
    return RemoteError(f"#{number} has failed", code="failed")


_WORD = RemoteError("one word for all", code="shared")


async def _says_later(call: CallDetails, error: LookupError) -> Any:
    if books_of_now().ask(call.metadata["ask"]).mapping == "hangs":
        _enter(call.metadata["ask"], "mapping", "hangs")
        await asyncio.sleep(HANG)
    return _says(call, error)


# Dependencies


def _number_of(context: RequestContext) -> int:
    number: int = context.metadata["ask"]
    return number


@contextlib.contextmanager
def _made(name: str, run: Run, books: Books) -> Iterator[Dependency]:
    made = Dependency(name, run, books.loop.time())
    books.dependencies.append(made)
    try:
        yield made
    finally:
        if made.closed is not None:
            books.wrong.append(("dependency", f"{name} of {run} is closed twice"))
        made.closed = books.loop.time()
        if run_of_now.get() is not run:
            books.wrong.append(("context", f"{name} of {run} is closed in another context"))


def inner(context: RequestContext) -> Iterator[Any]:
    """A plain generator."""
    number = _number_of(context)
    kind = books_of_now().ask(number).inner
    books, run = _enter(number, "inner", kind)
    if kind == "never_yields":
        return
    _before(kind, run.ask, books)
    with _made("inner", run, books) as made:
        try:
            yield made
        except LookupError:
            if kind != "swallows":
                raise
        if kind == "twice":
            yield made
        if kind == "raises_at_end":
            raise_plain(run.ask)


async def outer(context: RequestContext, below: Annotated[Any, Depends(inner)]) -> AsyncIterator[Any]:
    """An async generator, which needs the plain one."""
    number = _number_of(context)
    kind = books_of_now().ask(number).outer
    books, run = _enter(number, "outer", kind)
    if kind == "never_yields":
        return
    _before(kind, run.ask, books)
    if kind == "hangs":
        await asyncio.sleep(HANG)
    with _made("outer", run, books) as made:
        try:
            yield outer if kind == "itself" else made
        except LookupError:
            if kind != "swallows":
                raise
        if kind == "twice":
            yield made
        if kind == "raises_at_end":
            raise_plain(run.ask)
        if kind == "hangs_at_end":
            await asyncio.sleep(HANG)
        if kind == "stubborn_at_end":
            try:
                await asyncio.sleep(HANG)
            except asyncio.CancelledError:
                await asyncio.sleep(STUBBORN)


def _before(kind: str, ask: Ask, books: Books) -> None:
    if kind == "raises":
        raise_plain(ask)
    if kind == "refuses":
        refuse(ask)
    if kind == "blocks":
        books.block(BLOCK)
    if kind == "odd":
        odd_answer(ask.number)


Outer = Annotated[Any, Depends(outer)]
Inner = Annotated[Any, Depends(inner)]


# Handlers: the number and data in, the number and a word out.


@contextlib.contextmanager
def _handling(number: int, data: Any) -> Iterator[Run]:
    ask = books_of_now().ask(number)
    books, run = _enter(number, "handler", ask.handler)
    run.started.append(books.loop.time())
    if isinstance(data, memoryview):
        books.refs.append((run, "the handler", weakref.ref(data)))
    try:
        yield run
    finally:
        run.ended = books.loop.time()


def _acts(number: int, data: Any, run: Run) -> Any:
    """What a handler does that does not wait."""
    ask, books = run.ask, books_of_now()
    match ask.handler:
        case "raises":
            raise_plain(ask)
        case "odd":
            return odd_answer(number)
        case "blocks":
            books.block(BLOCK)
        case "refuses":
            refuse(ask)
        case "itself":
            return _acts
        case "mutates":
            if isinstance(data, list):
                data.clear()
        case "cancels":
            raise asyncio.CancelledError
        case "context":
            return current_request()
        case "remote":
            raise RemoteError("declined", code="declined", data={"ask": number, "data": data})
        case "shared":
            if not is_swallowed(ask):
                raise SHARED
    return [number, "done"]


def _cancel_this_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def _acts_later(number: int, data: Any, run: Run) -> Any:
    kind = run.ask.handler
    if kind == "hangs":
        await asyncio.sleep(HANG)
    elif kind == "stubborn":
        try:
            await asyncio.sleep(HANG)
        except asyncio.CancelledError:
            await asyncio.sleep(STUBBORN)
    elif kind == "gives_up":
        _cancel_this_task()
    await asyncio.sleep(0.001 * (number % 4))
    return _acts(number, data, run)


def _plain(number: int, data: Any) -> Any:
    with _handling(number, data) as run:
        return _acts(number, data, run)


def _made_plain(number: int, data: Any, made: Inner) -> Any:
    with _handling(number, data) as run:
        return _acts(number, data, run)


def _invoke(data: list[Any]) -> Any:
    return _plain(*data[:2])  # middleware may have added to it


async def _waits(number: int, data: Any) -> Any:
    with _handling(number, data) as run:
        return await _acts_later(number, data, run)


async def _coroutine(number: int, data: Any, made: Outer, same: Inner) -> Any:
    with _handling(number, data) as run:
        return await _acts_later(number, data, run)


async def _nested(context: RequestContext, number: int, data: Any) -> Any:
    with _handling(number, data) as run:
        found = await context.call("note", number)
        if found != number:
            books_of_now().wrong.append(("answer", f"the call of {run} to its engine was answered with {found!r}"))
        return await _acts_later(number, data, run)


async def _stream(number: int, data: Any, made: Outer) -> AsyncIterator[Any]:
    with _handling(number, data) as run:
        for index in range(ITEMS):
            yield [number, index]
            if index == ITEMS // 2 and run.ask.handler != "returns":
                await _acts_later(number, data, run)


async def _upload(items: AsyncIterator[Any], number: int, data: Any, made: Outer) -> Any:
    with _handling(number, data) as run:
        count = 0
        async for item in items:
            if item != [number, count]:
                books_of_now().wrong.append(("answer", f"{run} was sent {item!r} as item {count}"))
            count += 1
            if count == ITEMS // 2 and run.ask.handler != "returns":
                await _acts_later(number, data, run)
        return await _acts_later(number, data, run)


async def _channel(items: AsyncIterator[Any], number: int, data: Any, made: Outer) -> AsyncIterator[Any]:
    with _handling(number, data) as run:
        count = 0
        async for _ in items:
            yield [number, count]
            count += 1
            if count == ITEMS // 2 and run.ask.handler != "returns":
                await _acts_later(number, data, run)


@functools.cache
def _registry(layers: int, mapping: str) -> Registry:
    """One for all containers of a form: looking at the signatures takes long."""
    server = ContainerServer()
    for index in range(layers):
        server.middleware(_layer(index))
    if mapping:
        server.on_error(LookupError)(_says_later if mapping == "async" else _says)
        server.on_error(ExceptionGroup)(_says_later if mapping == "async" else _says)
    handlers: dict[str, Callable[..., Any]] = {
        "plain": _plain, "made": _made_plain, "coroutine": _coroutine, "nested": _nested, "stream": _stream,
        "upload": _upload, "channel": _channel,
    }  # fmt: skip
    for name, handler in handlers.items():
        server.function(handler, name=name)
    server.function(_waits, name="narrow", max_concurrency=1)
    server.function(_waits, name="steady", cancellable=False)
    server.on_invoke(_invoke)
    return server._registry
