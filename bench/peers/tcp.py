"""Bare asyncio TCP with MessagePack, batched: the limit for a client and a server that are written in Python."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgpack

from .base import AsyncPeer, serve_until_killed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..scenarios import Scenario
    from .base import Call


class _Batched(asyncio.Protocol):
    """What is sent in one pass of the event loop leaves as one array."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._unpacker = msgpack.Unpacker(max_buffer_size=64 * 1024 * 1024)
        self._out: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, record: Any) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(record)

    def _flush(self) -> None:
        out, self._out = self._out, []
        self._transport.write(msgpack.packb(out))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._unpacker.feed(data)
        for batch in self._unpacker:
            for record in batch:
                self.received(record)

    def received(self, record: Any) -> None:
        raise NotImplementedError


class _Server(_Batched):
    def received(self, record: Any) -> None:
        self.send(record)


class _Client(_Batched):
    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0

    def call(self, payload: Any) -> asyncio.Future[Any]:
        self._number += 1
        future = self._waiting[self._number] = self._loop.create_future()
        self.send((self._number, payload))
        return future

    def received(self, record: Any) -> None:
        self._waiting.pop(record[0]).set_result(record[1])


class Tcp(AsyncPeer):
    """A protocol on each side, a future by number for each request."""

    name = "tcp"
    title = "bare asyncio TCP, batched"
    unfair = "No reconnection, deadlines, errors, limits or liveness; the call is a bare future and not a coroutine."

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo."""
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
        ready([f"127.0.0.1:{server.sockets[0].getsockname()[1]}"])
        await serve_until_killed()

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """One connection."""
        host, _, port = endpoints[0].partition(":")
        transport, client = await asyncio.get_running_loop().create_connection(_Client, host, int(port))
        try:
            yield [client.call]
        finally:
            transport.close()

    def supports(self, scenario: Scenario) -> bool:
        """All but memoryviews, which MessagePack turns into bytes."""
        return scenario.containers == 1 and scenario.kind != "view"


PEER = Tcp()
