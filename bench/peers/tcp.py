"""Bare asyncio TCP with MessagePack, batched: the limit for a client and a server that are written in Python."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import msgpack

from .base import AsyncPeer, serve_until_killed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..scenarios import Scenario
    from .base import Call, Open

_Protocol = TypeVar("_Protocol", bound="_Batched")

BATCH = 256
"""Items of a stream that are written in one pass of the event loop, at most: as many as records in mpzmq's batches."""

HIGH, LOW = 4096, 1024
"""Items in the reader's queue at which it stops to read, and at which it goes on."""


class _Batched(asyncio.Protocol):
    """What is sent in one pass of the event loop leaves as one array."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._unpacker = msgpack.Unpacker(max_buffer_size=64 * 1024 * 1024)
        self._out: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, record: Any) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(record)

    def _flush(self) -> None:
        out, self._out = self._out, []
        self.transport.write(msgpack.packb(out))  # type: ignore[attr-defined]

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


@contextlib.asynccontextmanager
async def _connection(endpoint: str, protocol: Callable[[], _Protocol]) -> AsyncIterator[_Protocol]:
    host, _, port = endpoint.partition(":")
    transport, client = await asyncio.get_running_loop().create_connection(protocol, host, int(port))
    try:
        yield client
    finally:
        transport.close()


class Source(_Batched):
    """Answers a number with as many items and None."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._tasks: set[asyncio.Task[None]] = set()
        self._may_write = asyncio.Event()
        self._may_write.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()

    def received(self, record: Any) -> None:
        task = self._loop.create_task(self._stream(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stream(self, count: int) -> None:
        async for item in self._items(count):
            self.send(item)
            if len(self._out) == BATCH:
                await self._drain()
        self.send(None)

    async def _items(self, count: int) -> AsyncIterator[bytes]:
        """The application, the same as the other peers have."""
        item = bytes(self._size)
        for _ in range(count):
            yield item

    async def _drain(self) -> None:
        await asyncio.sleep(0)  # the pass ends, and what was sent in it is written
        await self._may_write.wait()


class Sink(_Batched):
    """Items go through a queue to whoever takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.items: asyncio.Queue[Any] = asyncio.Queue()
        self.held = asyncio.Event()
        """Set while it does not read."""

    def received(self, record: Any) -> None:
        self.items.put_nowait(record)
        if self.items.qsize() >= HIGH and not self.held.is_set():
            self.held.set()
            self.transport.pause_reading()  # type: ignore[attr-defined]

    async def stream(self, count: int) -> AsyncIterator[Any]:
        self.send(count)
        while (item := await self.items.get()) is not None:
            if self.held.is_set() and self.items.qsize() <= LOW:
                self.held.clear()
                self.transport.resume_reading()  # type: ignore[attr-defined]
            yield item


class Tcp(AsyncPeer):
    """A protocol on each side, a future by number for each request, a queue for a stream."""

    name = "tcp"
    title = "bare asyncio TCP, batched"
    unfair = "No reconnection, deadlines, errors, limits or liveness; the call is a bare future and not a coroutine."

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo, or a stream."""

        def protocol() -> _Batched:
            return Source(scenario.size) if scenario.kind == "items" else _Server()

        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        ready([f"127.0.0.1:{server.sockets[0].getsockname()[1]}"])
        await serve_until_killed()

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """One connection."""
        async with _connection(endpoints[0], _Client) as client:
            yield [client.call]

    @contextlib.asynccontextmanager
    async def streaming(self, endpoints: Sequence[str]) -> AsyncIterator[Open]:
        """One connection, one stream at a time."""
        async with _connection(endpoints[0], Sink) as sink:
            yield sink.stream

    def supports(self, scenario: Scenario) -> bool:
        """All but memoryviews, which MessagePack turns into bytes."""
        return scenario.containers == 1 and scenario.kind != "view"


PEER = Tcp()
