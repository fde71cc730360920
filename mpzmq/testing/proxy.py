"""A bad network: a TCP relay that cuts, freezes, delays, throttles and flips bits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from typing import Any, Literal, Self

from ..address import parse_address
from ..common.durations import checked_wait
from ..common.set_module import set_module

__all__ = ["Proxy"]

CHUNK = 16 * 1024
"""Bytes that are read and passed on at a time."""

CHUNKS = 256
"""That may be under way in one direction of one connection: with CHUNK, 4 MiB."""

TICK = 0.02
"""Seconds of traffic that a throttled direction sends at a time."""

RESET_GRACE = 0.001
"""Seconds in which the last bytes before a reset can be read: a reset overtakes what the other side has not."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 seconds: the socket ends with RST."""

_GENTLE = struct.pack("ii", 0, 0)
"""SO_LINGER off: what was sent still arrives."""


Side = Literal["container", "worker"]
"""Towards whom bytes go."""


class _Direction:
    """The bytes that go one way, over all connections: how many, and what is to happen to them."""

    def __init__(self) -> None:
        self.passed = 0
        self.reset_at: int | None = None
        self.flip_at: int | None = None
        self.mask = 0

    def piece(self, data: bytes, size: int) -> bytes:
        """The next bytes to be passed on, ``size`` at most: none beyond those that a reset comes after."""
        if self.reset_at is not None:
            size = min(size, self.reset_at - self.passed)
        piece = data[:size]
        if self.flip_at is not None and self.flip_at < self.passed + len(piece):
            flipped = bytearray(piece)
            flipped[self.flip_at - self.passed] ^= self.mask
            self.flip_at = None
            return bytes(flipped)
        return piece

    def has_passed(self, size: int) -> bool:
        """They were passed on; True: the reset is due."""
        self.passed += size
        if self.passed != self.reset_at:
            return False
        self.reset_at = None
        return True


@set_module("mpzmq.testing")
class Proxy:
    """Stands between a worker and a container: ``async with Proxy(endpoint) as proxy``, then dial ``proxy.endpoint``.

    It accepts connections on a free port of 127.0.0.1, dials the target for each, and passes bytes on in both
    directions. When the target refuses, so that nothing can be passed on, the connection is reset.

    Args:
        target: the endpoint of a container, over TCP.

    Attributes:
        connections: that were accepted so far.
        bytes: that were passed on so far, in both directions together.
        hang_up: True: connections are accepted, and closed at once; can be set at any time.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        address = parse_address(target)
        if address.path:
            raise ValueError(f"a proxy relays TCP, and {address.text} is no TCP endpoint")
        self._target = (address.host, address.port)
        self.connections = 0
        self.bytes = 0
        self.hang_up = False
        self._directions: dict[Side, _Direction] = {"container": _Direction(), "worker": _Direction()}
        self._delay = 0.0
        self._rate: float | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        # Keeps the port for us while it is cut: bound to it too, but never listening.
        self._holder: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        # One for each connection that passes bytes on: ends that, and says which half of it stays.
        self._halves: set[asyncio.Future[Side]] = set()

    def __repr__(self) -> str:
        return f"<Proxy {self._port} -> {self._target[0]}:{self._target[1]}>"

    @property
    def endpoint(self) -> str:
        """Where it listens; the same until it is closed."""
        return f"tcp://127.0.0.1:{self._port}"

    def _direction(self, to: Side) -> _Direction:
        if to not in self._directions:
            raise ValueError(f"a side is 'worker' or 'container', not {to!r}")
        return self._directions[to]

    def bytes_to(self, side: Side) -> int:
        """How many were passed on so far to one side, over all connections.

        Args:
            side: ``"worker"`` or ``"container"``.
        """
        return self._direction(side).passed

    @property
    def delay(self) -> float:
        """Seconds by which each direction is late; can be set at any time."""
        return self._delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        if checked_wait(seconds, "delay") < 0:
            raise ValueError(f"delay is 0 or more seconds, not {seconds}")
        self._delay = seconds

    @property
    def rate(self) -> float | None:
        """Bytes per second, in each direction of each connection; None: no limit. Can be set at any time."""
        return self._rate

    @rate.setter
    def rate(self, bytes_per_second: float | None) -> None:
        if bytes_per_second is not None and not bytes_per_second > 0:
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

    def reset_after(self, count: int, *, to: Side) -> None:
        """Resets a connection as soon as ``count`` more bytes were passed on to that side, whatever they belong to.

        Once; a later call takes the place of an earlier one that was not due yet.

        Args:
            count: bytes.
            to: ``"worker"`` or ``"container"``.
        """
        if count < 1:
            raise ValueError(f"count is 1 byte or more, not {count}: use reset()")
        direction = self._direction(to)
        direction.reset_at = direction.passed + count

    def flip(self, mask: int = 1, *, to: Side, after: int = 0) -> None:
        """Flips the bits of ``mask`` in one byte, after ``after`` more bytes were passed on to that side. Once.

        TCP's checksum does not see it: it is computed anew here.

        Args:
            mask: 1 to 255.
            to: ``"worker"`` or ``"container"``.
            after: bytes.
        """
        if not 0 < mask < 256:
            raise ValueError(f"mask has bits of one byte, 1 to 255, not {mask}")
        direction = self._direction(to)
        direction.flip_at, direction.mask = direction.passed + after, mask

    def half_open(self, *, keep: Side) -> None:
        """Resets one half of each connection; the other half stays, silent, until its side ends it.

        So one side knows that the connection is lost, and the other does not. New connections are welcome.

        Args:
            keep: whose half stays, ``"worker"`` or ``"container"``.
        """
        self._direction(keep)
        for half in self._halves:
            if not half.done():
                half.set_result(keep)

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
        self.connections += 1
        if self.hang_up:
            accepted.close()
            return
        accepted.setblocking(False)
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
            keep = await self._pass_on((near, forth), (far, back))
            if keep is None:
                for writer in writers:
                    _linger(writer, _GENTLE)
            else:
                reader, lost = (near, forth) if keep == "worker" else (far, back)
                lost.transport.abort()
                while await reader.read(CHUNK):
                    pass
        except* OSError:
            pass  # one side has refused or reset the connection: so the other one is reset, too
        finally:
            for writer in writers:
                writer.transport.abort()
            for writer in writers:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _pass_on(self, *pairs: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> Side | None:
        """Passes on until both sides have ended the connection, or one half of it is to stay: then which."""
        half: asyncio.Future[Side] = asyncio.get_running_loop().create_future()
        passing = asyncio.create_task(self._pass_all(*pairs))
        either: set[asyncio.Future[Any]] = {passing, half}
        self._halves.add(half)
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                passing.result()
                return None
            return half.result()
        finally:
            self._halves.discard(half)
            passing.cancel()
            await asyncio.wait([passing])
            if not passing.cancelled():
                passing.exception()  # how it ended does not matter when it was told to

    async def _pass_all(self, *pairs: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        async with asyncio.TaskGroup() as work:
            for (reader, writer), direction in zip(pairs, self._directions.values(), strict=True):
                under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS)
                work.create_task(self._take(reader, under_way))
                work.create_task(self._give(under_way, writer, direction))

    async def _take(self, reader: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"not the end"
        while data:
            data = await reader.read(CHUNK)
            await under_way.put((time.monotonic() + self._delay, data))

    async def _give(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, direction: _Direction
    ) -> None:
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
                if rate is not None:
                    await asyncio.sleep(min(size, len(data)) / rate)
                await self._flowing.wait()
                # From here to the write nothing waits: other connections share the count.
                piece = direction.piece(data, size)
                data = data[len(piece) :]
                self.bytes += len(piece)
                is_last = direction.has_passed(len(piece))
                writer.write(piece)
                await writer.drain()
                if is_last:
                    await asyncio.sleep(RESET_GRACE)
                    raise ConnectionResetError


def _linger(writer: asyncio.StreamWriter, how: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):  # it is closed already; uvloop says it with the latter
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)
