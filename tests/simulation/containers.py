"""The containers of a simulated world: their handlers write down when they start and end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mpzmq import ContainerServer, Refused, current_request

from .history import Closing, Incarnation, Start
from .schedule import HAS_MAX_CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mpzmq.transport.memory import MemoryHost, MemoryNetwork

    from .history import History
    from .schedule import Schedule

__all__ = ["Process", "endpoint"]


def endpoint(container: int) -> str:
    """Where a container listens, whichever incarnation it is."""
    return f"tcp://127.0.0.1:{3010 + container}"


class Process:
    """One incarnation of a container, with the functions it serves.

    Every function takes the same arguments: the number of the request, its body, the generation of the link, and
    seconds or bytes. It returns what proves that it has run: its number and the serial of its start.
    """

    def __init__(self, network: MemoryNetwork, schedule: Schedule, history: History, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.host: MemoryHost = network.host()
        self.server = server = ContainerServer(
            name=f"c{incarnation.container}.{incarnation.number}",
            heartbeat=schedule.heartbeat,
            limits=schedule.container_limits,
        )
        server._transport = self.host
        self._history = history
        self._loop = asyncio.get_running_loop()
        for function in (self.plain, self.nap, self.large, self.fails, self.refuses):
            server.function(function)
        server.function(self.stubborn, cancellable=False)
        server.on_invoke(self.echo)
        if HAS_MAX_CONCURRENCY:
            narrow: dict[str, Any] = {"max_concurrency": 1}
            server.function(self.nap, name="narrow", **narrow)

    async def open(self) -> None:
        """Begins to serve."""
        await self.server.bind(endpoint(self.incarnation.container))

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
        self.incarnation.statistics = self.server.statistics()

    async def _bounded(self, what: str, bound: float, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        closing = Closing(f"{what} c{self.incarnation.container}.{self.incarnation.number}", self._loop.time(), bound)
        self._history.closings.append(closing)
        await end()
        closing.ended = self._loop.time()

    # The functions

    def echo(self, data: list[Any]) -> list[int]:
        number, body, generation = data
        return self._ended(self._started("echo", number, body, generation))

    def plain(self, number: int, body: int, generation: int, extra: float) -> list[int]:
        return self._ended(self._started("plain", number, body, generation))

    def large(self, number: int, body: int, generation: int, extra: float) -> list[Any]:
        return [*self._ended(self._started("large", number, body, generation)), bytes(int(extra))]

    async def nap(self, number: int, body: int, generation: int, extra: float) -> list[int]:
        return await self._sleep("nap", number, body, generation, extra)

    async def stubborn(self, number: int, body: int, generation: int, extra: float) -> list[int]:
        return await self._sleep("stubborn", number, body, generation, extra)

    def fails(self, number: int, body: int, generation: int, extra: float) -> None:
        self._ended(self._started("fails", number, body, generation), "raised")
        raise ArithmeticError(f"request {number} fails")

    def refuses(self, number: int, body: int, generation: int, extra: float) -> None:
        self._ended(self._started("refuses", number, body, generation), "raised")
        raise Refused(f"request {number} is refused")

    async def _sleep(self, function: str, number: int, body: int, generation: int, seconds: float) -> list[int]:
        start = self._started(function, number, body, generation)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._ended(start, "cancelled")
            raise
        return self._ended(start)

    def _started(self, function: str, number: int, body: int, generation: int) -> Start:
        if self.incarnation.killed:
            # The loop goes on for everybody else, but here nothing starts any more.
            raise asyncio.CancelledError
        history = self._history
        context = current_request()
        start = Start(
            serial=len(history.starts),
            number=number,
            body=body,
            generation=generation,
            function=function,
            container=self.incarnation.container,
            incarnation=self.incarnation.number,
            request_id="" if context is None else str(context.request_id),
            at=self._loop.time(),
        )
        history.starts.append(start)
        return start

    def _ended(self, start: Start, end: str = "returned") -> list[int]:
        start.ended = self._loop.time()
        start.end = end
        return [start.number, start.serial]
