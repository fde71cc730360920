"""The transport that programs use: which one it is, the scheme of an endpoint says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..transport.libzmq.transport import ZmqTransport
from .rust.dealer import RustDealer
from .rust.router import ROUTE, RustRouter

if TYPE_CHECKING:
    from ..config import Limits
    from ..transport.interface import Dealer, DealerHandler, Delivery, Frames, Router, RouterHandler, SocketSettings
    from ..transport.tcp.stream import TcpStream

__all__ = ["RUST", "AnyTransport"]

RUST = "rust+tcp://"


class AnyTransport:
    """Makes sockets of libzmq, and for ``rust+tcp://`` what stands for one.

    Args:
        limits: this side's.
    """

    def __init__(self, limits: Limits) -> None:
        self._zmq = ZmqTransport()
        self._limits = limits
        self._streams: set[TcpStream] = set()

    def dealer(self, endpoint: str, settings: SocketSettings, handler: DealerHandler) -> Dealer:
        """Dials an endpoint."""
        if endpoint.startswith(RUST):
            return RustDealer(endpoint, settings, self._limits, handler, self._keep)
        return self._zmq.dealer(endpoint, settings, handler)

    def router(self, settings: SocketSettings, handler: RouterHandler) -> Router:
        """A router that listens nowhere yet.

        Raises:
            OSError: too few file descriptors are left.
        """
        return AnyRouter(self._zmq.router(settings, handler), RustRouter(settings, self._limits, handler))

    async def release(self) -> None:
        """Ends what the sockets shared, and waits for connections whose last words are on their way."""
        if self._streams:
            await asyncio.wait([stream.ended for stream in self._streams])
        await self._zmq.release()

    def _keep(self, stream: TcpStream) -> None:
        self._streams.add(stream)
        stream.ended.add_done_callback(lambda _: self._streams.discard(stream))


class AnyRouter:
    """A router of both: which one a route is of, its first bytes say."""

    def __init__(self, zmq: Router, rust: Router) -> None:
        self._zmq = zmq
        self._rust = rust

    def _of(self, route: bytes) -> Router:
        return self._rust if route.startswith(ROUTE) else self._zmq

    def bind(self, endpoint: str) -> str:
        """Listens on an endpoint and returns it with its real port.

        Raises:
            OSError: the endpoint cannot be bound.
        """
        return (self._rust if endpoint.startswith(RUST) else self._zmq).bind(endpoint)

    def send(self, route: bytes, frames: Frames) -> Delivery:
        """Sends a message to one route."""
        return self._of(route).send(route, frames)

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived, now: ``max_messages`` messages of libzmq, or a few more."""
        self._zmq.drain(max_messages)
        self._rust.drain(max_messages)

    def key_of(self, route: bytes) -> str | None:
        """The public key that was authenticated on a route; None: there is no security."""
        return self._of(route).key_of(route)

    def cut(self, route: bytes) -> None:
        """Ends a connection at its next message."""
        self._of(route).cut(route)

    def end(self, route: bytes) -> None:
        """Ends a connection at once, if it is known which one that is."""
        self._of(route).end(route)

    def end_silent(self, seconds: float) -> None:
        """Ends connections that were accepted, and have not sent a message for so long."""
        self._zmq.end_silent(seconds)
        self._rust.end_silent(seconds)

    async def close(self, linger: float) -> None:
        """Closes, and returns when the endpoints are free."""
        await self._rust.close(linger)
        await self._zmq.close(linger)
