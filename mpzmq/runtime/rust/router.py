"""A container's connections to clients of the Rust crate."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING
from uuid import uuid4

from ...common.logs import Log, LogRateLimit
from ...protocol.rust.client import RustClient
from ...transport.interface import Delivery
from ...transport.tcp.stream import TcpStream, accept, listening

if TYPE_CHECKING:
    import socket

    from ...config import Limits
    from ...transport.interface import Frames, RouterHandler, SocketSettings

__all__ = ["ROUTE", "RustRouter"]

log = Log(__name__)

ROUTE = b"rust-"
"""What routes begin with. Those of libzmq begin with a zero, or with a key, and with keys there are none of these."""

BACKLOG = 1024
"""Connections that may wait to be accepted."""

ACCEPTED_AT_ONCE = 64
"""In one pass of the event loop, which requests have to share with them."""

ACCEPT_PAUSE = 0.1
"""Seconds until a connection is accepted again where no descriptor was left for one."""

LAST_WORDS = 0.2
"""Seconds that a client has to read why it is turned away."""

UNSENT_RETRY = 0.01
"""Seconds until it is looked again whether what stands in front of an answer to a PING has left."""


class RustConnection:
    """One client.

    Args:
        route: its name for the sessions.
        host: what it belongs to.
        peer: where it comes from, for people.

    Attributes:
        route, peer: as given.
        since: when it was accepted.
        is_heard: whether anything has come.
        stream: the connection; None: it is over.
    """

    def __init__(self, route: bytes, host: RustRouter, peer: str) -> None:
        self.route = route
        self.peer = peer
        self.since = host.loop.time()
        self.is_heard = False
        self.stream: TcpStream | None = None
        self._host = host
        self._client = RustClient(uuid4(), f"rust+tcp {peer}", host.settings.heartbeat_interval, host.limits)
        self._delivery: asyncio.Handle | None = None
        self._pong: asyncio.TimerHandle | None = None

    # What the stream tells

    def on_connected(self, stream: TcpStream) -> None:
        """The connection stands."""
        self.stream = stream
        if not self._host.on_begun(self):
            self.close(0.0)

    def on_bytes(self, data: bytes) -> None:
        """Bytes have come."""
        self.is_heard = True
        self._client.feed(data)
        self._write()
        self._deliver()
        self._check()
        self._hold()

    def on_lost(self, error: Exception | None) -> None:
        """The connection has ended."""
        self.close(0.0)
        self._host.on_ended(self.route)

    def on_writable(self) -> None:
        """It takes more now. The sessions try again by themselves."""
        self._hold()

    # For the router

    def send(self, frames: Frames) -> Delivery:
        """Sends a message of the sessions."""
        if self.stream is None:
            return Delivery.GONE
        if self.stream.is_full:
            return Delivery.FULL
        self._client.take(frames)
        self._write()
        self._answer_pings()
        if self._client.failure:
            self._host.loop.call_soon(self._check)
        return Delivery.SENT

    def drain(self) -> None:
        """Hands over what has arrived."""
        self._deliver()

    def close(self, linger: float) -> None:
        """Ends it; idempotent."""
        for handle in (self._delivery, self._pong):
            if handle is not None:
                handle.cancel()
        self._delivery = self._pong = None
        if self.stream is not None:
            stream, self.stream = self.stream, None
            stream.close(linger)

    def _write(self) -> None:
        if self.stream is not None:
            self.stream.write(b"".join(self._client.to_peer))
        self._client.to_peer.clear()

    def _deliver(self) -> None:
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        if not self._client.has_asked:
            return
        messages, self._client.to_sessions = self._client.to_sessions, []
        if messages:
            self._host.handler.on_messages([[self.route, *frames] for frames in messages])

    def _answer_pings(self) -> None:
        """When what was said before has left: a drain waits for that, and whoever does not read asks no more."""
        if self.stream is None or self._pong is not None:
            return
        self._client.on_left(self._client.written - self.stream.unsent)
        self._write()
        if self._client.has_pings:
            self._pong = self._host.loop.call_later(UNSENT_RETRY, self._look_again)
        if self._client.to_sessions and self._delivery is None:
            self._delivery = self._host.loop.call_soon(self._deliver)
        self._hold()

    def _look_again(self) -> None:
        self._pong = None
        self._answer_pings()

    def _hold(self) -> None:
        """A client that asks more than can be taken in, or reads nothing, is held back by TCP."""
        if self.stream is not None:
            self.stream.hold(self.stream.is_full or self._client.is_held_back)

    def _check(self) -> None:
        """Whether the connection is still of use."""
        if self._client.failure and self.stream is not None:
            self._host.log_end(f"the connection from {self.peer} is ended: {self._client.failure}")
            self.close(LAST_WORDS)
            self._host.on_ended(self.route)


class RustRouter:
    """Listens at endpoints ``rust+tcp://host:port``.

    Args:
        settings: of the container's sockets.
        limits: the container's.
        handler: takes what the clients ask, as messages of this protocol.
    """

    def __init__(self, settings: SocketSettings, limits: Limits, handler: RouterHandler) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings = settings
        self.limits = limits
        self.handler = handler
        self._listening: dict[str, socket.socket] = {}
        self._connections: dict[bytes, RustConnection] = {}
        self._streams: set[TcpStream] = set()
        self._accepting: set[asyncio.Task[None]] = set()
        self._pauses: set[asyncio.TimerHandle] = set()
        self._numbers = itertools.count(1)
        self._ends = LogRateLimit()

    def bind(self, endpoint: str) -> str:
        """Listens on an endpoint and returns it with its real port.

        Raises:
            OSError: the endpoint cannot be bound.
        """
        own = listening(endpoint, BACKLOG)
        scheme, _, rest = endpoint.partition("://")
        bound = f"{scheme}://{rest.rpartition(':')[0]}:{own.getsockname()[1]}"
        self._listening[bound] = own
        self.loop.add_reader(own, self._accept, own)
        return bound

    def send(self, route: bytes, frames: Frames) -> Delivery:
        """Sends a message to one route."""
        connection = self._connections.get(route)
        return Delivery.GONE if connection is None else connection.send(frames)

    def drain(self, max_messages: int) -> None:
        """Hands over what has arrived."""
        for connection in list(self._connections.values()):
            connection.drain()

    def key_of(self, route: bytes) -> str | None:
        """None: that wire has no keys."""
        return None

    def cut(self, route: bytes) -> None:
        """Ends a connection."""
        connection = self._connections.get(route)
        if connection is not None:
            connection.close(LAST_WORDS)
            self.loop.call_soon(self.on_ended, route)

    def end(self, route: bytes) -> None:
        """The same."""
        self.cut(route)

    def end_silent(self, seconds: float) -> None:
        """Ends connections that were accepted so many seconds ago or more, and have not sent anything."""
        latest = self.loop.time() - seconds
        for route, connection in list(self._connections.items()):
            if not connection.is_heard and connection.since <= latest:
                self.cut(route)

    async def close(self, linger: float) -> None:
        """Closes, and returns when the endpoints are free and the connections have ended."""
        for own in self._listening.values():
            self.loop.remove_reader(own)
            own.close()
        self._listening.clear()
        for pause in self._pauses:
            pause.cancel()
        for connection in list(self._connections.values()):
            connection.close(linger)
        self._connections.clear()
        # Each has its socket, so none is cancelled: they begin within two passes of the event loop, and end then.
        if self._accepting:
            await asyncio.wait(self._accepting)
        if self._streams:
            await asyncio.wait([stream.ended for stream in self._streams])

    def on_begun(self, connection: RustConnection) -> bool:
        """A connection stands; False: it comes too late."""
        if not self._listening:
            return False
        self._connections[connection.route] = connection
        return True

    def on_ended(self, route: bytes) -> None:
        """A connection has ended."""
        if self._connections.pop(route, None) is not None:
            self.handler.on_disconnected([route])

    def log_end(self, text: str) -> None:
        """Tells of a connection that broke a rule: once in a while, for a flood must not fill the log."""
        if self._ends.allows(self.loop.time()):
            log.warning("%s", text)

    def _accept(self, own: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                one, address = own.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor is left: it would be told of the same connection without a pause
                self.log_end(f"a connection cannot be accepted: {error.strerror}")
                self.loop.remove_reader(own)
                self._pauses.add(self.loop.call_later(ACCEPT_PAUSE, self._accept_again, own))
                return
            task = self.loop.create_task(self._serve(one, f"{address[0]}:{address[1]}"))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    def _accept_again(self, own: socket.socket) -> None:
        self._pauses.clear()
        if own in self._listening.values():
            self.loop.add_reader(own, self._accept, own)

    async def _serve(self, one: socket.socket, peer: str) -> None:
        route = ROUTE + next(self._numbers).to_bytes(8)
        stream = TcpStream(RustConnection(route, self, peer))
        self._streams.add(stream)
        stream.ended.add_done_callback(lambda _: self._streams.discard(stream))
        with contextlib.suppress(OSError):  # it has ended already
            await accept(one, self.settings, stream)
