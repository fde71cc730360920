"""A link's connection to a container of the Rust crate."""

from __future__ import annotations

import asyncio
import errno
import random
from typing import TYPE_CHECKING
from uuid import uuid4

from ...failure import Failure, FailureKind
from ...protocol.rust.container import RustContainer
from ...transport.tcp.stream import TcpStream, dial, dial_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...config import Limits
    from ...transport.interface import DealerHandler, Frames, SocketSettings

__all__ = ["RustDealer"]


class RustDealer:
    """Dials an endpoint ``rust+tcp://host:port``, and dials it again until it is closed.

    Args:
        endpoint: with a number as its host.
        settings: of the link.
        limits: the engine's.
        handler: the link's driver.
        keep: is given each connection, for whoever waits until all of them have ended.
    """

    def __init__(
        self,
        endpoint: str,
        settings: SocketSettings,
        limits: Limits,
        handler: DealerHandler,
        keep: Callable[[TcpStream], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._settings = settings
        self._handler = handler
        self._keep = keep
        self._container = RustContainer(endpoint, limits, settings.heartbeat_interval)
        self._stream: TcpStream | None = None
        self._is_connected = False
        self._dialling: asyncio.Task[None] | None = None
        self._timer: asyncio.Handle | None = None
        self._delivery: asyncio.Handle | None = None
        self._closed = False
        self._begin()

    @property
    def is_accepted(self) -> bool:
        """Whether there is a connection."""
        return self._is_connected

    def send(self, frames: Frames) -> bool:
        """Sends a message; False: not now."""
        stream = self._stream
        if stream is None or not self._is_connected or stream.is_full:
            return False
        self._container.take(frames)
        stream.write(b"".join(self._container.to_peer))
        self._container.to_peer.clear()
        if self._container.to_link and self._delivery is None:
            self._delivery = self._loop.call_soon(self._deliver)
        return True

    def drain(self, max_messages: int) -> None:
        """Hands over what has arrived."""
        self._deliver()

    def redirect(self, endpoint: str) -> None:
        """Dials another endpoint, at once and from now on."""
        self._shut(0.0)
        self._endpoint = endpoint
        self._begin()

    def redial(self) -> None:
        """Gives the connection up and dials anew."""
        self._shut(0.0)
        if not self._closed:
            delay = self._settings.redial_delay(random.random(), prompt=self._handler.on_redial())
            self._timer = self._loop.call_later(delay, self._begin)

    def close(self, linger: float) -> None:
        """Closes; idempotent."""
        self._closed = True
        self._shut(linger)

    # What the stream tells

    def on_connected(self, stream: TcpStream) -> None:
        """A connection stands."""
        self._is_connected = True
        self._container.on_connected(uuid4())
        self._handler.on_connection([None])

    def on_bytes(self, data: bytes) -> None:
        """Bytes have come."""
        self._container.feed(data)
        failure = self._container.failure
        self._deliver()
        if failure and self._is_connected:
            self._drop(f"the connection to {self._endpoint} is of no use: {failure}")

    def on_lost(self, error: Exception | None) -> None:
        """The connection has ended."""
        why = "was ended by the other side"
        if isinstance(error, OSError):
            why = f"was lost: {error.strerror or error}"
            if error.errno == errno.ETIMEDOUT:
                why = f"was lost: its host has not answered for {self._settings.down_after:g} s"
        self._deliver()
        self._drop(f"the connection to {self._endpoint} {why}")

    def on_writable(self) -> None:
        """A send that was refused may succeed now."""
        self._handler.on_writable()

    # The steps of a dial

    def _begin(self) -> None:
        self._timer = None
        self._stream = TcpStream(self)
        self._dialling = self._loop.create_task(self._dial(self._stream))

    async def _dial(self, stream: TcpStream) -> None:
        self._keep(stream)
        try:
            await dial(self._endpoint, self._settings, stream)
        except OSError as error:
            if stream is not self._stream:
                return  # it was given up meanwhile
            self._dialling = None
            delay = self._settings.redial_delay(random.random(), prompt=False)
            self._timer = self._loop.call_later(delay, self._begin)
            self._handler.on_connection([dial_failure(error, self._endpoint, self._settings.connect_timeout)])
            return
        self._dialling = None

    def _drop(self, why: str) -> None:
        """The connection is over."""
        self._shut(0.0)
        if not self._closed:
            self._timer = self._loop.call_soon(self.redial)
            self._handler.on_connection([Failure(FailureKind.LOST, why, was_up=True, is_forgotten=True)])

    def _deliver(self) -> None:
        """Hands over what is for the link."""
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        messages, self._container.to_link = self._container.to_link, []
        if messages and not self._closed:
            self._handler.on_messages(messages)

    def _shut(self, linger: float) -> None:
        for handle in (self._timer, self._delivery):
            if handle is not None:
                handle.cancel()
        self._timer = self._delivery = None
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        self._is_connected = False
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close(linger)
