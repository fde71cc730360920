"""One TCP connection, as bytes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
import weakref
from typing import TYPE_CHECKING, Protocol, cast

from ...failure import Failure, FailureKind

if TYPE_CHECKING:
    from ..interface import SocketSettings

__all__ = ["StreamOwner", "TcpStream", "accept", "dial", "dial_failure", "host_and_port", "listening"]

MAX_UNSENT = 1024 * 1024
"""Bytes that wait to leave before a connection takes no more."""

PROBES = 3
"""Of the system, without an answer, after which a silent host is given up."""

MAX_PROBE_SECONDS = 32_767
"""The longest that Linux waits between two of them (tcp(7), MAX_TCP_KEEPIDLE)."""

MAX_USER_TIMEOUT = 2**31 - 1
"""Milliseconds: the option is an int."""

_REFUSED = (errno.ECONNREFUSED,)
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)

_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _forked() -> None:
    """In a child process: connections and ports are the parent's, and end when it ends them."""
    for one in list(_sockets):
        with contextlib.suppress(OSError):
            os.close(one.detach())


os.register_at_fork(after_in_child=_forked)


class StreamOwner(Protocol):
    """Who is told of what comes. All calls are made from the event loop, never from inside a call of the stream."""

    def on_connected(self, stream: TcpStream) -> None:
        """The connection stands; nothing has come of it yet."""

    def on_bytes(self, data: bytes) -> None:
        """Bytes have come."""

    def on_lost(self, error: Exception | None) -> None:
        """The connection has ended; None: the other side has ended it."""

    def on_writable(self) -> None:
        """It was full, and takes more now."""


class TcpStream(asyncio.Protocol):
    """One connection.

    Args:
        owner: is told.

    Attributes:
        ended: done when the connection has ended, or was not made, and its descriptor is closed.
    """

    def __init__(self, owner: StreamOwner) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner: StreamOwner | None = owner
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_held = False
        self.ended: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_full(self) -> bool:
        """Whether nothing should be written now: so much waits to leave, or the end is near."""
        return self._is_paused or self._transport is None or self._transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that the system has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Sends bytes, now or later."""
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def hold(self, is_held: bool) -> None:
        """Reads nothing more for now, or again: the other side is held back by TCP then."""
        if is_held is self._is_held or self._transport is None or self._transport.is_closing():
            return
        self._is_held = is_held
        if is_held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self, linger: float) -> None:
        """Ends the connection when what was written has left, after ``linger`` seconds at most. Nobody is told."""
        self._owner = None
        if self._transport is None:
            return
        if linger <= 0:
            self._transport.abort()
            return
        self._transport.close()
        self._timer = self._loop.call_later(linger, self._transport.abort)

    def abandon(self) -> None:
        """What was to make the connection has given up. uvloop tells of no end then, though it may have begun."""
        self.close(0.0)
        self._loop.call_soon(self._end)  # behind connection_lost(), where that comes

    def _end(self) -> None:
        self._transport = None
        if not self.ended.done():
            self.ended.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # which uvloop's do not derive from
        if self._owner is None:  # closed while it was made
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=MAX_UNSENT)
        self._owner.on_connected(self)

    def data_received(self, data: bytes) -> None:
        """For asyncio."""
        if self._owner is not None:
            self._owner.on_bytes(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio."""
        if self._timer is not None:
            self._timer.cancel()
        self._end()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.on_lost(exc)

    def pause_writing(self) -> None:
        """For asyncio."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """For asyncio."""
        self._is_paused = False
        if self._owner is not None:
            self._owner.on_writable()


def host_and_port(endpoint: str) -> tuple[str, int]:
    """What an endpoint, ``scheme://host:port`` with a number as its host, says."""
    host, _, port = endpoint.partition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)


async def dial(endpoint: str, settings: SocketSettings, stream: TcpStream) -> None:
    """Connects a stream.

    Raises:
        OSError: it could not; a TimeoutError: there was no answer.
    """
    own: socket.socket | None = None
    try:
        host, port = host_and_port(endpoint)
        loop = asyncio.get_running_loop()
        own = _socket(host)
        async with asyncio.timeout(settings.connect_timeout):
            await loop.sock_connect(own, (host, port))
        if own.getsockname() == own.getpeername():  # a port of this host that is free, dialled from itself
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
        await _make(own, settings, stream)
    except BaseException:
        if own is not None:
            own.close()
        stream.abandon()
        raise


def dial_failure(error: OSError, endpoint: str, timeout: float) -> Failure:
    """What became of a dial, as a link judges it."""
    shown = endpoint
    if isinstance(error, TimeoutError):
        return Failure(FailureKind.TIMEOUT, f"no answer from {shown} to a TCP connect in {timeout:g} s")
    if error.errno in _REFUSED:
        return Failure(FailureKind.REFUSED, f"nothing listens at {shown}: connection refused")
    if error.errno in _UNREACHABLE:
        return Failure(FailureKind.UNREACHABLE, f"no route to {shown}: {error.strerror}")
    return Failure(FailureKind.LOCAL, f"cannot dial {shown}: {error.strerror or error}")


def listening(endpoint: str, backlog: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: the endpoint cannot be bound.
    """
    host, port = host_and_port(endpoint)
    own = _socket(host)
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((host, port))
        own.listen(backlog)
    except OSError as error:
        own.close()
        raise OSError(error.errno, f"cannot bind {endpoint}: {error.strerror}") from None
    return own


async def accept(own: socket.socket, settings: SocketSettings, stream: TcpStream) -> None:
    """Makes a stream of a connection that was accepted.

    Raises:
        OSError: it has ended already.
    """
    try:
        own.setblocking(False)
        _sockets.add(own)
        await _make(own, settings, stream)
    except BaseException:
        own.close()
        stream.abandon()
        raise


async def _make(own: socket.socket, settings: SocketSettings, stream: TcpStream) -> None:
    _watch(own, settings)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, own)


def _socket(host: str) -> socket.socket:
    own = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    own.setblocking(False)
    _sockets.add(own)
    return own


def _watch(own: socket.socket, settings: SocketSettings) -> None:
    """The system asks a silent host for a sign of life, and gives it up: the wire itself has no heartbeat."""
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    every = min(max(1, round(settings.down_after / (PROBES + 1))), MAX_PROBE_SECONDS)
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    options = [(idle, every), (getattr(socket, "TCP_KEEPINTVL", None), every)]
    options.append((getattr(socket, "TCP_KEEPCNT", None), PROBES))
    if sys.platform == "linux":
        milliseconds = min(max(1000, round(settings.down_after * 1000)), MAX_USER_TIMEOUT)
        options.append((socket.TCP_USER_TIMEOUT, milliseconds))
    for option, value in options:
        if option is not None:
            own.setsockopt(socket.IPPROTO_TCP, option, value)
