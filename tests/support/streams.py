"""A container that streams in all ways, behind a proxy, and a worker: what the tests of streams share."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpzmq import ComputerEngineWorker, ComputerEngineWriter, ContainerServer, Limits, LinkDown, RequestContext
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import event_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq.testing import Proxy, ProxyFactory

__all__ = ["Stage", "all_of", "read_into", "stage_behind"]


@dataclass
class Stage:
    """Both sides, and what the handlers have done.

    Attributes:
        given: items that generators have yielded.
        taken: items that handlers have read.
        ran: functions that have begun, in order.
        ended: how each of them ended: its name, and the class of what was raised in it, None for nothing.
        gate: what some functions wait for.
        complaints: what the event loop was told of: callbacks that raised, exceptions that nobody has retrieved.
    """

    server: ContainerServer
    proxy: Proxy
    worker: ComputerEngineWorker
    container: ComputerEngineWriter
    given: list[Any] = field(default_factory=list)
    taken: list[Any] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    ended: list[tuple[str, type[BaseException] | None]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    complaints: list[Any] = field(default_factory=list)

    async def lose(self) -> None:
        """The connection breaks, and comes back."""
        events = self.worker.service().events()
        await self.proxy.reset()
        await event_of(events, LinkDown)

    @contextlib.contextmanager
    def noted(self, name: str) -> Any:
        """Notes the begin and the end of a handler."""
        self.ran.append(name)
        try:
            yield
        except BaseException as error:
            self.ended.append((name, type(error)))
            raise
        else:
            self.ended.append((name, None))

    @property
    def peers(self) -> list[Any]:
        """The sessions of the container."""
        hub = self.server._driver
        return [] if hub is None else hub.sessions.all()

    def is_tidy(self) -> bool:
        """Whether nothing is at work, nothing was left behind, and the books of both sides add up."""
        there = self.server.statistics()
        here = self.worker.statistics()
        ended = there.replied + there.failed + there.refused + there.cancelled
        left = [peer for peer in self.peers if len(peer.send_streams) or peer.receive_streams or peer._stream_bytes]
        return (
            adds_up(here)
            and not (here.in_flight or there.in_flight or left)
            and there.received == ended
            and not len(self.container._link.tracker.send_streams)
            and len(self.ran) == len(self.ended)
        )


async def all_of(stream: AsyncIterator[Any]) -> list[Any]:
    """The items of a stream, to its end."""
    return [item async for item in stream]


async def read_into(items: list[Any], stream: AsyncIterator[Any]) -> None:
    """Reads a stream to its end; what came before an error stays there."""
    async for item in stream:
        items.append(item)  # noqa: PERF401


def _functions(stage: Stage) -> None:
    server = stage.server

    @server.function
    async def count(number: int, size: int = 0) -> AsyncIterator[Any]:
        """Numbers, each with so many bytes, if any."""
        with stage.noted("count"):
            for index in range(number):
                stage.given.append(index)
                yield (index, bytes(size)) if size else index

    @server.function
    async def forever(size: int = 0) -> AsyncIterator[Any]:
        with stage.noted("forever"):
            index = 0
            while True:
                stage.given.append(index)
                yield (index, bytes(size)) if size else index
                index += 1

    @server.function
    async def halting(number: int) -> AsyncIterator[int]:
        """Numbers, then it waits for the gate, then as many again."""
        with stage.noted("halting"):
            for index in range(2 * number):
                if index == number:
                    await stage.gate.wait()
                stage.given.append(index)
                yield index

    @server.function
    async def failing(number: int) -> AsyncIterator[int]:
        with stage.noted("failing"):
            for index in range(number):
                yield index
            raise LookupError("no more")

    @server.function
    async def given_items(items: list[Any]) -> AsyncIterator[Any]:
        with stage.noted("given_items"):
            for item in items:
                yield item

    @server.function
    async def total(items: AsyncIterator[int], start: int = 0, *, factor: int = 1) -> int:
        with stage.noted("total"):
            async for item in items:
                stage.taken.append(item)
                start += item if isinstance(item, int) else len(item)
            return factor * start

    @server.function
    async def first(items: AsyncIterator[Any], number: int = 1) -> list[Any]:
        """The first items; it does not read the others."""
        with stage.noted("first"):
            found: list[Any] = []
            async for item in items:
                found.append(item)
                if len(found) == number:
                    break
            return found

    @server.function
    async def unread(items: AsyncIterator[Any]) -> str:
        """Waits for the gate, and reads all then."""
        with stage.noted("unread"):
            await stage.gate.wait()
            async for item in items:
                stage.taken.append(item)
            return "read"

    @server.function
    async def bad(items: AsyncIterator[Any], number: int) -> None:
        with stage.noted("bad"):
            async for item in items:
                if item == number:
                    raise LookupError(item)

    @server.function
    async def echo(items: AsyncIterator[Any], prefix: Any = None) -> AsyncIterator[Any]:
        with stage.noted("echo"):
            async for item in items:
                stage.taken.append(item)
                yield item if prefix is None else [prefix, item]

    @server.function
    async def reversed_(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        with stage.noted("reversed_"):
            for item in reversed([item async for item in items]):
                yield item

    @server.function
    async def three(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Answers three items, and ends."""
        with stage.noted("three"):
            left = 3
            async for item in items:
                yield item
                left -= 1
                if not left:
                    return

    @server.function
    async def bad_echo(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        with stage.noted("bad_echo"):
            async for item in items:
                if item is None:
                    raise LookupError("None")
                yield item

    @server.function
    async def plain(word: str) -> str:
        return word

    @server.function
    async def whose(context: RequestContext, word: str) -> AsyncIterator[Any]:
        with stage.noted("whose"):
            yield [context.function, dict(context.metadata), word]


@contextlib.asynccontextmanager
async def stage_behind(
    proxy_of: ProxyFactory, there: Limits | None = None, here: Limits | None = None, orphan_after: float | None = 30.0
) -> AsyncIterator[Stage]:
    """A stage; when it is left, everything has to have ended, and nothing may have gone wrong unseen.

    Args:
        proxy_of: makes the proxy.
        there: limits of the container.
        here: those of the worker; None: the same.
        orphan_after: of the container.
    """
    loop = asyncio.get_running_loop()
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    there = there or Limits()
    server = ContainerServer(name="stage", heartbeat=QUICK, limits=there, orphan_after=orphan_after)
    worker = ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK, limits=here or there)
    async with server, worker:
        proxy = await proxy_of(await server.bind("tcp://127.0.0.1:0"))
        container = await worker.connect(uuid.uuid4(), proxy.endpoint, name="stage")
        stage = Stage(server, proxy, worker, container, complaints=complaints)
        _functions(stage)
        yield stage
        stage.gate.set()
        try:
            await until(stage.is_tidy)
        except TimeoutError:
            raise AssertionError(
                f"not tidy: {worker.statistics()}, {server.statistics()}, {stage.ran}, {stage.ended}"
            ) from None
    gc.collect()
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    assert not complaints, complaints
