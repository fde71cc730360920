"""A stranger who speaks to the port without libzmq: ZMTP by hand, or anything but that."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import struct
from typing import TYPE_CHECKING

from tests.support.waiting import SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Stranger", "affordable", "crowd", "frame_header", "greeting", "ready", "stranger"]

MORE, LONG, COMMAND = 1, 2, 4


def greeting(mechanism: bytes = b"NULL") -> bytes:
    """The 64 bytes with which ZMTP 3.1 begins."""
    return b"\xff" + bytes(8) + b"\x7f\x03\x01" + mechanism.ljust(20, b"\0") + bytes(32)


def ready(socket_type: bytes = b"DEALER") -> bytes:
    """The READY command that ends the handshake."""
    body = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", len(socket_type)) + socket_type
    return bytes((COMMAND, len(body))) + body


def frame_header(size: int, *, more: bool = False) -> bytes:
    """The header of a frame that says it has so many bytes."""
    return struct.pack(">BQ", LONG | (MORE if more else 0), size)


def affordable(wanted: int) -> int:
    """How many connections may be open at once: they take a descriptor here and one in the container."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, soft // 2)


class Stranger:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, data: bytes) -> bool:
        """Sends bytes; False: the other side has ended the connection."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            return False
        return True

    async def handshake(self, socket_type: bytes = b"DEALER") -> None:
        """Becomes a ZMTP peer; returns when the other side has said READY, or has hung up."""
        await self.say(greeting() + ready(socket_type))
        heard = b""
        while b"READY" not in heard and (part := await self._reader.read(4096)):
            heard += part

    async def until_closed(self, seconds: float = SECONDS) -> None:
        """Reads until the other side has ended the connection."""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                while await self._reader.read(1 << 16):
                    pass

    def reset(self) -> None:
        """Breaks off: RST in place of FIN, and what has not left yet is lost."""
        raw = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the other side has ended it already
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def stranger(address: tuple[str, int]) -> AsyncIterator[Stranger]:
    """A connection, closed at the end."""
    one = Stranger(*await asyncio.open_connection(*address))
    try:
        yield one
    finally:
        await one.close()


@contextlib.asynccontextmanager
async def crowd(address: tuple[str, int], count: int, at_once: int = 100) -> AsyncIterator[list[Stranger]]:
    """Many connections, closed at the end."""
    made: list[Stranger] = []
    try:
        while len(made) < count:
            some = min(at_once, count - len(made))
            streams = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(some)))
            made += [Stranger(*pair) for pair in streams]
        yield made
    finally:
        for start in range(0, len(made), at_once):
            await asyncio.gather(*(one.close() for one in made[start : start + at_once]))
