"""The container's socket to all its engines."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

import zmq

from .base import Delivery
from .socket import ZmqSocket, allow_ipv6, configure

if TYPE_CHECKING:
    import asyncio

    from .base import Frames, RouterHandler, SocketSettings

__all__ = ["ZmqRouter"]

BACKLOG = 1024
"""Connections that may wait to be accepted: a thousand engines redial at once after a restart."""


class ZmqRouter:
    """A ROUTER. Routing ids are libzmq's own: a fixed one can be taken over, or makes a ghost of its second holder."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        loop: asyncio.AbstractEventLoop,
        settings: SocketSettings,
        handler: RouterHandler,
    ) -> None:
        raw = context.socket(zmq.ROUTER)
        configure(raw, settings)
        # Without it replies that cannot be routed, or that one slow engine does not read, vanish in silence.
        raw.set(zmq.ROUTER_MANDATORY, 1)
        raw.set(zmq.BACKLOG, BACKLOG)
        self._endpoints: list[str] = []
        self._socket = ZmqSocket(raw, loop, handler.on_messages, lambda: None, routed=True)

    def bind(self, endpoint: str) -> str:
        """Listens on an endpoint and returns it with its real port."""
        allow_ipv6(self._socket.raw, endpoint)
        try:
            self._socket.raw.bind(endpoint)
        except zmq.ZMQError as error:
            raise OSError(error.errno, f"cannot bind {endpoint}: {error.strerror}") from None
        bound = self._socket.raw.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._endpoints.append(bound)
        return bound

    def unbind(self) -> None:
        """Listens no more; connections that stand go on."""
        for endpoint in self._endpoints:
            with contextlib.suppress(zmq.ZMQError):
                self._socket.raw.unbind(endpoint)
        self._endpoints.clear()

    def send(self, route: bytes, frames: Frames) -> Delivery:
        """Sends a message to one route."""
        try:
            return Delivery.SENT if self._socket.send([route, *frames]) else Delivery.FULL
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return Delivery.GONE
            raise

    def close(self, linger: float) -> None:
        """Closes; idempotent."""
        self._socket.close(linger)
