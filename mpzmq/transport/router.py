"""The container's socket to all its engines."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING

import zmq

from .base import Delivery
from .monitor import Monitor
from .socket import ZmqSocket, allow_ipv6, configure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Frames, RouterHandler, SocketSettings

__all__ = ["ZmqRouter"]

BACKLOG = 1024
"""Connections that may wait to be accepted: a thousand engines redial at once after a restart."""


CLOSE_TIMEOUT = 1.0
"""Seconds to wait for libzmq to close its listeners; it takes less than one millisecond."""


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
        # A router that only tells of listeners it has closed makes few events: nobody else can flood this monitor.
        self._monitor = Monitor(context, raw, int(zmq.EVENT_CLOSED), loop, self._on_closed)
        self._closed = asyncio.Event()
        self._listeners = 0
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
        self._socket.look_soon()
        return bound

    def send(self, route: bytes, frames: Frames) -> Delivery:
        """Sends a message to one route."""
        try:
            return Delivery.SENT if self._socket.send([route, *frames]) else Delivery.FULL
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return Delivery.GONE
            raise

    async def close(self, linger: float) -> None:
        """Closes, and returns when the endpoints are free."""
        endpoints, self._endpoints = self._endpoints, []
        self._listeners = len(endpoints)
        # Unbinding ends the connections that were accepted there: they are given the time to send what they have.
        self._socket.raw.set(zmq.LINGER, int(linger * 1000))
        for endpoint in endpoints:
            with contextlib.suppress(zmq.ZMQError):
                self._socket.raw.unbind(endpoint)
        if endpoints:
            # libzmq's own thread closes the listeners, a moment later.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), CLOSE_TIMEOUT)
        self._monitor.close()
        self._socket.close(linger)

    def _on_closed(self, events: Sequence[tuple[int, int, str]]) -> None:
        self._listeners -= len(events)
        if self._listeners <= 0:
            self._closed.set()
