"""The container's socket to all its engines."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import time
from collections import deque
from typing import TYPE_CHECKING

import zmq

from ...security.keypair import KEY_SIZE
from ..interface import Delivery
from .authenticator import WATCHED, ListenerWatch
from .curve import as_server
from .descriptors import Descriptors
from .ipc import IpcListener
from .monitor import watched
from .socket import Routed, ZmqSocket, allow_ipv6, configure
from .spare_descriptors import check_descriptors

if TYPE_CHECKING:
    from ..interface import Frames, RouterHandler, SocketSettings
    from .authenticator import Authenticator

__all__ = ["ZmqRouter"]

BACKLOG = 1024
"""Connections that may wait to be accepted: a thousand engines redial at once after a restart."""

DESCRIPTORS = 4
"""What a bind opens, and a little more: libzmq ends the whole process if it gets no descriptor to ask for the host's
addresses, whatever the endpoint is (seen: SIGABRT in ip_resolver.cpp)."""

CLOSE_TIMEOUT = 1.0
"""Seconds to wait for libzmq to close its listeners; it takes less than one millisecond."""

BEFORE_A_LOSS = 128
"""Messages that are read before the end of a connection is told: what it has said last, unless it was very much."""

_numbers = itertools.count(1)


class ZmqRouter:
    """A ROUTER. Routing ids are libzmq's own: a fixed one can be taken over, or makes a ghost of its second holder.

    Where there are keys, the route that is given to the handler begins with the one that was authenticated: no message
    can be taken for another user's.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        authenticator: Authenticator,
        loop: asyncio.AbstractEventLoop,
        settings: SocketSettings,
        handler: RouterHandler,
    ) -> None:
        self._loop = loop
        self._handler = handler
        self._doorman = authenticator
        self._curve = settings.curve
        self._skipped = 0 if settings.curve is None else KEY_SIZE
        self.endpoints: dict[str, IpcListener | None] = {}
        """Where it listens."""
        self._closed = asyncio.Event()
        self._listeners = 0
        self._watch = ListenerWatch(
            domain=f"mpzmq-{next(_numbers)}",
            key_verifier=None if settings.curve is None else settings.curve.key_verifier,
            max_handshakes=settings.handshakes,
            patience=settings.connect_timeout,
            on_closed=self._tell_closed,
            on_disconnected=self._tell_disconnected,
        )
        self._descriptors = Descriptors()
        self._disconnected: deque[int] = deque()
        self._told_disconnected = False
        raw = context.socket(zmq.ROUTER)
        try:
            configure(raw, settings)
            # Without it replies that cannot be routed, or that one slow engine does not read, vanish in silence.
            raw.set(zmq.ROUTER_MANDATORY, 1)
            raw.set(zmq.BACKLOG, BACKLOG)
            if settings.curve is not None:
                as_server(raw, settings.curve, self._watch.domain.encode())
            authenticator.watch(watched(context, raw, WATCHED), self._watch)
        except BaseException:
            raw.close(0)
            raise
        routed = Routed.PLAIN if settings.curve is None else Routed.IDENTIFIED
        self._socket = ZmqSocket(
            raw,
            loop,
            handler.on_messages,
            lambda: None,
            routed=routed,
            shut=self._watch.close_fd,
            descriptors=self._descriptors,
        )

    def bind(self, endpoint: str) -> str:
        """Listens on an endpoint and returns it with its real port."""
        if self._curve is not None and self._doorman.has_ended:
            raise OSError(errno.EACCES, f"cannot bind {endpoint}: the authenticator of this process has ended")
        check_descriptors(DESCRIPTORS, f"bind {endpoint}")
        allow_ipv6(self._socket.raw, endpoint)
        listener = IpcListener(endpoint.removeprefix("ipc://"), BACKLOG) if endpoint.startswith("ipc://") else None
        self._socket.raw.set(zmq.USE_FD, -1 if listener is None else listener.fileno())
        try:
            self._socket.raw.bind(endpoint)
        except zmq.ZMQError as error:
            if listener is not None:
                listener.close()
            raise OSError(error.errno, f"cannot bind {endpoint}: {error.strerror}") from None
        if listener is not None:
            listener.detach()
        bound = self._socket.raw.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self.endpoints[bound] = listener
        self._watch.addresses.add(bound)
        self._socket.look_soon()
        return bound

    def key_of(self, route: bytes) -> str | None:
        """The public key that was authenticated on a route; None: there is no security."""
        return route[:KEY_SIZE].decode() if self._skipped else None

    def cut(self, route: bytes) -> None:
        """Ends a connection at its next message; what has arrived from it and was not read is dropped."""
        self._socket.cut(route)

    def end(self, route: bytes) -> None:
        """Ends a connection at once, if it is known which one that is, and else as :meth:`cut` does."""
        descriptor = self._descriptors.latest(route)
        self._socket.cut(route, is_ended=descriptor is not None)
        if descriptor is not None:
            self._watch.close_fd(descriptor)

    def end_silent(self, seconds: float) -> None:
        """Ends connections that were accepted so many seconds ago or more, and have not sent a message."""
        unheard, latest = self._watch.unheard, time.monotonic() - seconds
        for descriptor, since in unheard.copy().items():
            is_heard = self._descriptors.is_heard(descriptor)
            if is_heard or since <= latest:
                unheard.pop(descriptor, None)
                if not is_heard:
                    self._watch.close_fd(descriptor)

    def send(self, route: bytes, frames: Frames) -> Delivery:
        """Sends a message to one route."""
        try:
            return Delivery.SENT if self._socket.send([route[self._skipped :], *frames]) else Delivery.FULL
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return Delivery.GONE
            raise

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived, now: ``max_messages`` messages, or a few more."""
        self._socket.drain(max_messages)

    async def close(self, linger: float) -> None:
        """Closes, and returns when the endpoints are free."""
        endpoints, self.endpoints = self.endpoints, {}
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
        for listener in endpoints.values():
            if listener is not None:
                listener.remove()
        self._socket.raw.disable_monitor()
        self._socket.close(linger)

    def _tell_closed(self) -> None:
        with contextlib.suppress(RuntimeError):  # its event loop has ended before it
            self._loop.call_soon_threadsafe(self._on_closed)

    def _on_closed(self) -> None:
        self._listeners -= 1
        if self._listeners <= 0:
            self._closed.set()

    def _tell_disconnected(self, descriptor: int) -> None:
        """From the authenticator's thread; a flood of connections makes one call of the event loop, not many."""
        self._disconnected.append(descriptor)
        if not self._told_disconnected:
            self._told_disconnected = True
            with contextlib.suppress(RuntimeError):  # its event loop has ended before it
                self._loop.call_soon_threadsafe(self._on_disconnected)

    def _on_disconnected(self) -> None:
        self._told_disconnected = False  # before the queue is emptied: what comes meanwhile is told again
        self._socket.drain(BEFORE_A_LOSS)
        routes: list[bytes] = []
        while self._disconnected:
            routes += self._descriptors.take(self._disconnected.popleft())
        if routes and not self._socket.raw.closed:
            self._handler.on_disconnected(routes)
