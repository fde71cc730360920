"""A container with functions of all kinds, and its gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003  (handlers are annotated with it)
from typing import Any
from uuid import UUID

import pytest

from mpzmq import ContainerServer, NotPermitted, Overloaded, Refused, RemoteError, RequestContext
from mpzmq.asgi import Gateway, gateway
from mpzmq.testing import connected

OPEN = ["add", "echo", "slow", "stuck", "fail", "refuse", "forbid", "full", "crash", "count", "follow", "total", "talk",
        "who", "ümläut", "a/b", "missing", "take_nothing", "once"]  # fmt: skip


class Served:
    """The container.

    Attributes:
        begun: how often slow functions have begun.
        ended: how often they were cancelled.
        running: those at work.
    """

    def __init__(self) -> None:
        self.begun = self.ended = self.running = 0
        self.may_go_on = asyncio.Event()
        self.server = ContainerServer(name="served")
        self._register()

    async def wait(self) -> None:
        self.begun += 1
        self.running += 1
        try:
            await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.ended += 1
            raise
        finally:
            self.running -= 1

    def _register(self) -> None:
        server = self.server

        @server.function
        def add(a: int, b: int = 1) -> int:
            """Adds two numbers."""
            return a + b

        @server.function
        def echo(value: Any = None) -> Any:
            return value

        @server.function
        def secret() -> str:
            return "hidden"

        @server.function
        async def slow() -> str:
            await self.wait()
            return "done"

        @server.function
        async def once() -> int:
            self.begun += 1
            return self.begun

        @server.function
        def fail() -> None:
            raise RemoteError("declined", code="funds", data={"by": UUID(int=7), "raw": b"hi"})

        @server.function
        def crash() -> None:
            raise ValueError("a bug")

        @server.function
        def refuse() -> None:
            raise Refused("not today")

        @server.function
        def forbid() -> None:
            """Its middleware forbids it."""

        @server.function
        def full() -> None:
            """Its middleware has no room for it."""

        @server.middleware
        async def doorkeeper(call: Any, proceed: Any) -> Any:
            if call.function == "forbid":
                raise NotPermitted("not you")
            if call.function == "full":
                error = Overloaded("come back")
                error.retry_after = 1.2
                raise error
            return await proceed(call)

        @server.function(name="ümläut")
        def umlaut() -> str:
            return "ü"

        @server.function(name="a/b")
        def slash() -> str:
            return "slash"

        @server.function
        def who(context: RequestContext) -> Any:
            return [dict(context.metadata), str(context.request_id), context.remaining()]

        @server.function
        async def count(to: int, fail: bool = False) -> AsyncIterator[Any]:
            for number in range(to):
                yield number
            if fail:
                raise RemoteError("no more", code="funds")

        @server.function
        async def follow() -> AsyncIterator[str]:
            yield "begun"
            await self.wait()

        @server.function
        async def stuck() -> AsyncIterator[str]:
            await self.wait()
            yield "late"

        @server.function
        async def total(numbers: AsyncIterator[int], start: int = 0) -> int:
            self.running += 1
            try:
                async for number in numbers:
                    start += number
                return start
            except asyncio.CancelledError:
                self.ended += 1
                raise
            finally:
                self.running -= 1

        @server.function
        async def talk(words: AsyncIterator[str], ending: str) -> AsyncIterator[str]:
            self.running += 1
            try:
                async for word in words:
                    yield f"{word}{ending}"
            finally:
                self.running -= 1

        @server.function
        async def take_nothing(words: AsyncIterator[str]) -> None:
            await self.wait()


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
async def app(served: Served) -> AsyncIterator[Gateway]:
    async with connected(served.server) as container:
        yield gateway(container, allow=OPEN)
