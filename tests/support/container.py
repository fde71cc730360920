"""The containers that tests start as processes of their own."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from mpzmq import ContainerServer, HeartbeatPolicy, RequestContext
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mpzmq.testing import ServedProcess

    Start = Callable[..., Awaitable[ServedProcess]]

SPEC = "tests.support.container:quick"


def write_down(journal: str, number: int) -> None:
    """A line more in a file."""
    with open(journal, "a", encoding="utf-8") as file:
        file.write(f"{number}\n")


def build(heartbeat: HeartbeatPolicy) -> ContainerServer:
    """A server with functions for all kinds of trouble."""
    server = ContainerServer(name="process", heartbeat=heartbeat)
    calls: list[object] = []
    cancelled: list[object] = []

    @server.on_invoke
    async def echo(data: object) -> object:
        return data

    @server.function
    def block(seconds: float) -> str:
        """Holds the event loop."""
        time.sleep(seconds)
        return "done"

    @server.function
    def count(number: int) -> int:
        calls.append(number)
        return number

    @server.function
    async def slow(seconds: float, word: object = "done") -> object:
        calls.append(word)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.append(word)
            raise
        return word

    @server.function
    async def climb(number: int, size: int = 0) -> AsyncIterator[object]:
        """Numbers, each with so many bytes, if any."""
        calls.append("climb")
        for index in range(number):
            yield (index, bytes(size)) if size else index

    @server.function
    async def add_up(items: AsyncIterator[int]) -> int:
        calls.append("add_up")
        return sum([item async for item in items])

    @server.function
    async def note(number: int, journal: str, seconds: float = 0.05) -> int:
        """Writes down that it has run, where a kill leaves it, and takes a moment."""
        write_down(journal, number)
        await asyncio.sleep(seconds)
        return number

    @server.function
    def seen() -> list[object]:
        return calls

    @server.function
    def was_cancelled() -> list[object]:
        return cancelled

    @server.function
    def running() -> int:
        """Requests that run besides this one."""
        return server.statistics().in_flight - 1

    @server.function
    def pid() -> int:
        return os.getpid()

    @server.function
    async def interrupts() -> None:
        raise KeyboardInterrupt

    @server.function
    async def ask(function: str, word: object, context: RequestContext) -> object:
        """Calls its engine."""
        return await context.call(function, word)

    return server


server = build(HeartbeatPolicy())
quick = build(HeartbeatPolicy(interval=scaled(0.3), down_after=scaled(0.9)))
