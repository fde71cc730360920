"""The container of the chaos: ``tests.chaos.container:server``, told by environment variables.

``CHAOS_HISTORY`` names the file for its history, ``CHAOS_HEARTBEAT`` its heartbeat as ``interval,down_after``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator  # noqa: TC003  (functions are asked for what takes a stream)
from typing import Any
from uuid import UUID

from mpzmq import ContainerServer, HeartbeatPolicy, RemoteError, current_request
from tests.chaos.descriptors import no_more_descriptors
from tests.chaos.history import ContainerLog
from tests.chaos.memory import resident_bytes
from tests.support.odd import RAISED, RESULTS

SAMPLE = 0.25
"""Seconds between two looks at the own counters."""


class Trusting(ContainerServer):
    """May be bound to the address of a network namespace, where nobody else is."""

    async def bind(self, endpoint: str | tuple[str, int], *, insecure: bool = False) -> str:
        return await super().bind(endpoint, insecure=True)


def build(path: str, heartbeat: HeartbeatPolicy) -> ContainerServer:
    """A server that writes down what it does."""
    log = ContainerLog(path)
    instance: UUID | None = None

    def count(*, final: bool = False) -> None:
        nonlocal instance
        instance = server.instance or instance  # at its end the server has none any more
        now = server.statistics()
        log.write(
            what="counters",
            instance=str(instance),
            final=final,
            received=now.received,
            replied=now.replied,
            failed=now.failed,
            refused=now.refused,
            cancelled=now.cancelled,
            in_flight=now.in_flight,
            rss=resident_bytes(),
        )

    async def keep_counting() -> None:
        while True:
            await asyncio.sleep(SAMPLE)
            count()

    @contextlib.asynccontextmanager
    async def counted(_: ContainerServer) -> AsyncIterator[None]:
        task = asyncio.create_task(keep_counting())
        try:
            yield
        finally:
            task.cancel()
            count(final=True)

    def run(function: str) -> contextlib.AbstractContextManager[None]:
        request = current_request()
        assert request is not None
        chosen = request.metadata.get("id")
        known = isinstance(chosen, bytes) and len(chosen) == 16  # a byte of it may have been flipped
        return log.run(UUID(bytes=chosen) if known else request.request_id, server.instance, function)

    server = Trusting(name="chaos", heartbeat=heartbeat, lifespan=counted)

    @server.on_invoke
    async def invoke(data: Any) -> Any:
        with run("invoke"):
            return data

    @server.function
    async def quick(data: Any) -> Any:
        with run("quick"):
            return data

    @server.function
    def plain(data: Any) -> Any:
        with run("plain"):
            return data

    @server.function
    async def slow(seconds: float, data: Any) -> Any:
        with run("slow"):
            await asyncio.sleep(seconds)
            return data

    @server.function
    async def big(size: int) -> bytes:
        with run("big"):
            return bytes(size)

    @server.function
    async def raising(data: Any) -> None:
        with run("raising"):
            raise RemoteError("on purpose", code="chaos", data=data)

    @server.function
    async def odd(name: str) -> Any:
        """Returns what a message cannot carry, or raises what cannot be shown."""
        with run("odd"):
            return RESULTS[name]() if name in RESULTS else RAISED[name][0]()

    @server.function
    async def numbers(to: int, data: Any) -> AsyncIterator[Any]:
        with run("numbers"):
            for number in range(to):
                yield [number, data]
                if number % 50 == 0:
                    await asyncio.sleep(0.01)

    @server.function
    async def store(items: AsyncIterator[Any]) -> int:
        with run("store"):
            return len([item async for item in items])

    @server.function
    async def chat(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        with run("chat"):
            async for item in items:
                yield item

    @server.function
    def block(seconds: float) -> None:
        """Holds the event loop."""
        with run("block"):
            time.sleep(seconds)

    @server.function
    async def swallow(data: memoryview | bytes) -> int:
        """For what would be too much on the way back, too."""
        with run("swallow"):
            return len(data)

    @server.function
    async def without_descriptors(seconds: float) -> None:
        """The process gets no file descriptor for a while; those that it has, it keeps."""
        with run("without_descriptors"), no_more_descriptors():
            await asyncio.sleep(seconds)

    return server


def _from_environment() -> ContainerServer:
    interval, down_after = map(float, os.environ.get("CHAOS_HEARTBEAT", "2,5").split(","))
    path = os.environ.get("CHAOS_HISTORY", os.devnull)
    return build(path, HeartbeatPolicy(interval=interval, down_after=down_after))


def __getattr__(name: str) -> ContainerServer:
    # Only the container process asks for it; whoever imports build() opens no file.
    if name == "server":
        return _from_environment()
    raise AttributeError(name)
