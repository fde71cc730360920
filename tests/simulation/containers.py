"""The containers of a simulated world: their handlers write down when they start and end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mpzmq import (
    ConnectionLost,
    ContainerServer,
    EngineJoined,
    EngineLeft,
    Refused,
    RequestError,
    Status,
    current_request,
)

from .history import Absence, Call, Closing, EngineChange, Incarnation, Start
from .odd import NoText, Unasked, odd_answer
from .schedule import STREAMED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from mpzmq.handlers.registry import Registry
    from mpzmq.protocol.session.presence import Presence
    from mpzmq.protocol.session.session import EngineSession
    from mpzmq.testing.simnet.network import MemoryHost, MemoryNetwork

    from .history import History
    from .schedule import Schedule

__all__ = ["Process", "endpoint"]


def endpoint(container: int) -> str:
    """Where a container listens, whichever incarnation it is."""
    return f"tcp://127.0.0.1:{3010 + container}"


class Process:
    """One incarnation of a container; its handlers find it as the state of their context."""

    def __init__(self, network: MemoryNetwork, schedule: Schedule, history: History, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.history = history
        self.host: MemoryHost = network.host()
        self.server = server = ContainerServer(
            name=f"c{incarnation.container}.{incarnation.number}",
            lifespan=self._lifespan,
            heartbeat=schedule.heartbeat,
            limits=schedule.container_limits,
        )
        server._transport = self.host
        server._registry = _registry(schedule.orphan_after, schedule.orphans_by_function)
        self._loop = asyncio.get_running_loop()

    @contextlib.asynccontextmanager
    async def _lifespan(self, server: ContainerServer) -> AsyncIterator[Process]:
        yield self

    def waiting(self) -> int:
        """Bytes that wait for its engines, added up, but for those to whom something leaves in this very pass."""
        hub = self.server._driver
        return 0 if hub is None else sum(p.waiting for p in hub.sessions.all() if p not in hub.sessions.writable)

    async def open(self) -> None:
        """Begins to serve."""
        _process.set(self)
        await self.server.bind(endpoint(self.incarnation.container))
        assert self.server._driver is not None
        self._watch(self.server._driver.sessions.presence)

    def _watch(self, presence: Presence) -> None:
        """Writes down who is away, and for how long, as far as the container knows."""
        away: dict[EngineSession, Absence] = {}

        def lost(peer: EngineSession, *rest: Any) -> None:
            if peer not in away:
                away[peer] = Absence(peer, self._loop.time())
                self.history.lost_engines.append(away[peer])
            was_lost(peer, *rest)

        def is_back(told: Callable[..., None], peer: EngineSession, *rest: Any) -> None:
            if peer in away:
                away.pop(peer).ended = self._loop.time()
            told(peer, *rest)

        was_lost = presence.on_lost
        for name in ("on_joined", "on_ended"):
            setattr(presence, name, functools.partial(is_back, getattr(presence, name)))
        setattr(presence, "on_lost", lost)  # noqa: B010  (a method, as far as mypy knows)

    def kill(self, *, loses: bool) -> None:
        """Ends the process without a word."""
        self.incarnation.killed = True
        self.incarnation.ended = self._loop.time()
        self.host.kill(loses=loses)

    async def drain(self, timeout: float) -> None:
        """Ends gracefully: drains, then closes."""
        self.incarnation.drain_timeout = timeout
        self.incarnation.ended = self._loop.time()
        await self._bounded("drain", timeout, lambda: self.server.drain(timeout))
        await self.close()

    async def close(self) -> None:
        """Ends, and keeps the counters."""
        if self.incarnation.ended is None:
            self.incarnation.ended = self._loop.time()
        await self._bounded("close of a container", 2.0, self.server.close)
        # Without what was timed, by a clock that is none of the simulation's.
        self.incarnation.statistics = replace(self.server.statistics(), functions={})

    async def _bounded(self, what: str, bound: float, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        closing = Closing(f"{what} c{self.incarnation.container}.{self.incarnation.number}", self._loop.time(), bound)
        self.history.closings.append(closing)
        await end()
        closing.ended = self._loop.time()


mark: contextvars.ContextVar[int | None] = contextvars.ContextVar("mark", default=None)
"""The start that a context belongs to."""

_process: contextvars.ContextVar[Process] = contextvars.ContextVar("process")
"""Whose container it is, for what works for no request: in the context of the bind."""


def _engine_changed(event: EngineJoined | EngineLeft) -> None:
    process = _process.get()
    place = process.incarnation.container, process.incarnation.number
    joined = isinstance(event, EngineJoined)
    process.history.engine_changes.append(EngineChange(process._loop.time(), *place, event.session.int, joined))


# The functions. All take the same: the number of the request, its body, the generation of its link, and seconds or
# bytes. They return what proves that they have run: the number, and the serial of the start.


def _started(function: str, number: int, body: int, generation: int) -> Start:
    context = current_request()
    assert context is not None
    process: Process = context.state
    if process.incarnation.killed:
        # The loop goes on for everybody else, but here nothing starts any more.
        raise asyncio.CancelledError
    starts = process.history.starts
    start = Start(
        serial=len(starts),
        number=number,
        body=body,
        generation=generation,
        function=function,
        container=process.incarnation.container,
        incarnation=process.incarnation.number,
        request_id=context.request_id.int,
        at=process._loop.time(),
        met=mark.get(),
        is_stopped=process.server.status is Status.STOP,
    )
    mark.set(start.serial)
    starts.append(start)
    return start


def _ended(start: Start, end: str = "returned") -> list[int]:
    start.ended = asyncio.get_running_loop().time()
    start.end = end
    return [start.number, start.serial]


def _echo(data: list[Any]) -> list[int]:
    return _ended(_started("echo", *data))


def _plain(number: int, body: int, generation: int, extra: float) -> list[int]:
    return _ended(_started("plain", number, body, generation))


def _large(number: int, body: int, generation: int, extra: float | bytes) -> list[Any]:
    data = extra if isinstance(extra, bytes) else bytes(int(extra))
    return [*_ended(_started("large", number, body, generation)), data]


async def _nap(number: int, body: int, generation: int, extra: float) -> list[int]:
    start = _started("nap", number, body, generation)
    try:
        await asyncio.sleep(extra)
    except asyncio.CancelledError:
        _ended(start, "cancelled")
        raise
    return _ended(start)


async def _changes_state(status: Status) -> None:
    context = current_request()
    assert context is not None
    number, body, generation, extra = context.metadata["facts"]
    start = _started("state", number, body, generation)
    try:
        await asyncio.sleep(extra)
    except asyncio.CancelledError:
        _ended(start, "cancelled")
        raise
    _ended(start)


def _fails(number: int, body: int, generation: int, extra: float) -> None:
    _ended(_started("fails", number, body, generation), "raised")
    raise ArithmeticError(f"request {number} fails")


def _refuses(number: int, body: int, generation: int, extra: float) -> None:
    _ended(_started("refuses", number, body, generation), "raised")
    raise Refused(f"request {number} is refused")


def _odd(number: int, body: int, generation: int, extra: float) -> Any:
    _ended(_started("odd", number, body, generation), "raised")
    return odd_answer(number)


async def _odd_nap(number: int, body: int, generation: int, extra: float) -> Any:
    start = _started("odd_nap", number, body, generation)
    try:
        await asyncio.sleep(extra)
    except asyncio.CancelledError:
        _ended(start, "cancelled")
        raise
    _ended(start, "raised")
    return odd_answer(number)


def _unfit(number: int, body: int, generation: int, other: Any = None) -> None:
    raise AssertionError("it was called with arguments that do not fit")


_unfit.__defaults__ = (NoText(),)


def _unasked(number: int, body: int, generation: int) -> None:
    raise AssertionError("it was called though nobody can tell what fits")


_unasked.__signature__ = Unasked.from_callable(_unasked)  # type: ignore[attr-defined]


@contextlib.contextmanager
def _streaming(function: str, number: int, body: int, generation: int) -> Iterator[Start]:
    """A handler whose data or results come piece by piece, until it ends in any way."""
    start = _started(function, number, body, generation)
    try:
        yield start
    except ConnectionLost as error:
        assert error.progress is not None
        start.received = error.progress.received
        _ended(start, "lost")
        raise
    except (asyncio.CancelledError, GeneratorExit):
        _ended(start, "cancelled")
        raise
    else:
        _ended(start)


async def _yields(number: int, body: int, generation: int, extra: float) -> AsyncIterator[list[Any]]:
    with _streaming("yields", number, body, generation) as start:
        for index in range(STREAMED["yields"]):
            yield [start.serial, index, *([memoryview(bytes(1200))] if index % 8 == 5 else [])]
            if index % 10 == 9:
                await asyncio.sleep(extra / 4)


async def _stores(items: AsyncIterator[list[Any]], number: int, body: int, generation: int, extra: float) -> list[int]:
    with _streaming("stores", number, body, generation) as start:
        async for item, *_ in items:
            start.items.append(item)
            if item % 10 == 9:
                await asyncio.sleep(extra / 4)
        return [start.number, start.serial]


async def _chats(
    items: AsyncIterator[int], number: int, body: int, generation: int, extra: float
) -> AsyncIterator[list[int]]:
    with _streaming("chats", number, body, generation) as start:
        async for item in items:
            await asyncio.sleep(extra / 40)
            start.items.append(item)
            yield [start.serial, item]


TIMEOUTS = (None, 30.0, 1.0, 0.05)
LOST_AFTER = (5.0, 0.0, 0.3, 1.0, None)
"""What calls to engines are given, one after the other."""


async def _asks(number: int, body: int, generation: int, extra: float) -> list[int]:
    """Calls its engine: twice one after the other, then twice at once."""
    start = _started("asks", number, body, generation)
    try:
        for _ in range(2):
            await _call(start, extra / 4)
        await asyncio.gather(_call(start, extra / 4), _call(start, 0.0))
    except asyncio.CancelledError:
        _ended(start, "cancelled")
        raise
    return _ended(start)


async def _call(start: Start, seconds: float) -> None:
    context = current_request()
    assert context is not None
    loop, calls = asyncio.get_running_loop(), context.state.history.calls
    function = "dwell" if seconds else "oddly" if start.serial % 3 == 0 else "note"
    serial = len(calls)
    timeout, lost_after = TIMEOUTS[serial % len(TIMEOUTS)], LOST_AFTER[serial % len(LOST_AFTER)]
    engine = context._request.engine  # type: ignore[attr-defined]  # it is an Invocation
    call = Call(serial, start.serial, timeout, loop.time(), function=function, lost_after=lost_after, engine=engine)
    calls.append(call)
    try:
        call.value = await context.call(
            function, call.serial, seconds, timeout=call.timeout, lost_after=call.lost_after
        )
        call.outcome = "reply"
    except asyncio.CancelledError:
        call.outcome = "cancelled"
        raise
    except RequestError as error:
        call.outcome, call.executed, call.text = type(error).__name__, error.executed, str(error)
    finally:
        call.ended = loop.time()


@functools.cache
def _registry(orphan_after: float | None, by_function: bool) -> Registry:
    """One for all containers: looking at the signatures takes as long as a fifth of a simulation."""
    server = ContainerServer(orphan_after=orphan_after)
    functions = (
        _plain,
        _large,
        _nap,
        _fails,
        _refuses,
        _asks,
        _yields,
        _stores,
        _chats,
        _odd,
        _odd_nap,
        _unfit,
        _unasked,
    )
    for function in functions:
        server.function(function, name=function.__name__[1:])
    server.function(_nap, name="stubborn", cancellable=False)
    server.on_invoke(_echo)
    server.on_state_change(_changes_state)
    server.on_engine_change(_engine_changed)
    server.function(_nap, name="narrow", max_concurrency=1)
    if by_function:
        server._registry.orphan_after = None  # each function has taken it over by now
    return server._registry
