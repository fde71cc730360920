"""A bad network: a TCP relay that cuts, freezes, delays and throttles."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from typing import Any, Self

from ..address import parse_address

__all__ = ["Proxy"]

CHUNK = 16 * 1024
"""Bytes that are read and passed on at a time."""

CHUNKS = 256
"""That may be under way in one direction of one connection: with CHUNK, 4 MiB."""

TICK = 0.02
"""Seconds of traffic that a throttled direction sends at a time."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 seconds: the socket ends with RST."""

_GENTLE = struct.pack("ii", 0, 0)
"""SO_LINGER off: what was sent still arrives."""


class Proxy:
    """Stands between a worker and a container: ``async with Proxy(endpoint) as proxy``, then dial ``proxy.endpoint``.

    It accepts connections on a free port of 127.0.0.1, dials the target for each, and passes bytes on in both
    directions. When the target refuses, so that nothing can be passed on, the connection is reset.

    Args:
        target: the endpoint of a container, over TCP.

    Attributes:
        connections: that were accepted so far.
        bytes: that were passed on so far, in both directions together.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        address = parse_address(target)
        if address.path:
            raise ValueError(f"a proxy relays TCP, and {address.text} is no TCP endpoint")
        self._target = (address.host, address.port)
        self.connections = 0
        self.bytes = 0
        self._delay = 0.0
        self._rate: float | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        # Keeps the port for us while it is cut: bound to it too, but never listening.
        self._holder: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Proxy {self._port} -> {self._target[0]}:{self._target[1]}>"

    @property
    def endpoint(self) -> str:
        """Where it listens; the same until it is closed."""
        return f"tcp://127.0.0.1:{self._port}"

    @property
    def delay(self) -> float:
        """Seconds by which each direction is late; can be set at any time."""
        return self._delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"delay is 0 or more seconds, not {seconds}")
        self._delay = seconds

    @property
    def rate(self) -> float | None:
        """Bytes per second, in each direction of each connection; None: no limit. Can be set at any time."""
        return self._rate

    @rate.setter
    def rate(self, bytes_per_second: float | None) -> None:
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError(f"rate is more than 0 bytes per second, or None, not {bytes_per_second}: use freeze()")
        self._rate = bytes_per_second

    async def __aenter__(self) -> Self:
        self._holder = self._bound(0)
        self._port = self._holder.getsockname()[1]
        self.restore()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Resets all connections and frees the port. Idempotent."""
        await self.cut()
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    async def cut(self) -> None:
        """Resets all connections, and refuses new ones until :meth:`restore`."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        await self.reset()

    async def reset(self) -> None:
        """Resets all connections; new ones are welcome."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def restore(self) -> None:
        """Accepts connections again, on the same port. Without a :meth:`cut` before, nothing happens."""
        if self._holder is None:
            raise RuntimeError("this proxy is not open: use 'async with'")
        if self._listener is None:
            self._listener = self._bound(self._port)
            self._listener.listen(128)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def freeze(self) -> None:
        """Passes nothing on until :meth:`thaw`, and tells nobody. Nothing is lost: it waits.

        Connections stay; new ones are accepted, and get no answer. Each direction of a connection holds 4 MiB at most,
        then the buffers of the sender fill.
        """
        self._flowing.clear()

    def thaw(self) -> None:
        """Passes on what has waited, and what comes."""
        self._flowing.set()

    @staticmethod
    def _bound(port: int) -> socket.socket:
        made = socket.socket()
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Holder and listener have the same port. For Linux the line above is enough, BSD wants this one.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.setblocking(False)
            made.bind(("127.0.0.1", port))
        except BaseException:
            made.close()
            raise
        return made

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # whoever dialled has left again
            return
        accepted.setblocking(False)
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._relay(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step closes nothing.
        task.add_done_callback(lambda _: accepted.close())

    async def _relay(self, accepted: socket.socket) -> None:
        """One connection, from its first byte to its last. Only where both sides have ended it, it ends without RST."""
        writers: list[asyncio.StreamWriter] = []

        async def streams(**target: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(limit=CHUNK, **target)
            writers.append(writer)
            writer.transport.set_write_buffer_limits(0)  # nothing is held where freeze() does not reach
            _linger(writer, _RESET)
            return reader, writer

        try:
            near, back = await streams(sock=accepted)
            await self._flowing.wait()
            far, forth = await streams(host=self._target[0], port=self._target[1])
            async with asyncio.TaskGroup() as work:
                for reader, writer in ((near, forth), (far, back)):
                    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS)
                    work.create_task(self._take(reader, under_way))
                    work.create_task(self._give(under_way, writer))
            for writer in writers:
                _linger(writer, _GENTLE)
        except* OSError:
            pass  # one side has refused or reset the connection: so the other one is reset, too
        finally:
            for writer in writers:
                writer.transport.abort()
            for writer in writers:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"not the end"
        while data:
            data = await reader.read(CHUNK)
            await under_way.put((time.monotonic() + self._delay, data))

    async def _give(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await under_way.get()
            left = due - time.monotonic()
            if left > 0:
                await asyncio.sleep(left)
            await self._flowing.wait()
            if not data:
                writer.write_eof()
                return
            while data:
                rate = self._rate
                size = len(data) if rate is None else max(1, int(rate * TICK))
                piece, data = data[:size], data[size:]
                if rate is not None:
                    await asyncio.sleep(len(piece) / rate)
                await self._flowing.wait()
                self.bytes += len(piece)
                writer.write(piece)
                await writer.drain()


def _linger(writer: asyncio.StreamWriter, how: bytes) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)
