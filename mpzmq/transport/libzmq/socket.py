"""A zmq socket driven by its file descriptor, without a future per message.

libzmq's descriptor is edge-triggered and shared by both directions: EVENTS has to be read again after every send
and receive, or wake-ups are missed (seen: 20 stalls in 268 messages without, none in 3,000 with).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

import zmq

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ..interface import Frames, SocketSettings
    from .descriptors import Descriptors

__all__ = ["Routed", "ZmqSocket", "allow_ipv6", "configure"]

READ_BURST: Final = 32
"""Messages that are read before the event loop gets its turn again. One that floods gets no more than that in front of
the others (p99 of those with 200: twice as much)."""

READ_BYTES: Final = 64 * 1024
"""The same in bytes: one full batch."""

DROP_BURST: Final = 512
"""The same for those of connections that were cut: dropping one takes 2 us, and the others stand behind them."""

MAX_UNWANTED = 1024
"""Connections that were cut and are remembered: what has arrived from them is dropped."""

ZERO_COPY: Final = 64 * 1024
"""Frames from this size on are handed to libzmq without a copy; below, the bookkeeping costs more than the copy."""

_EVENTS: Any = zmq.EVENTS  # no int: pyzmq would look for its name each time (1.4 against 0.9 us)
_RCVMORE: Any = zmq.RCVMORE
_POLLIN: Final = int(zmq.POLLIN)
_POLLOUT: Final = int(zmq.POLLOUT)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)


def configure(socket: zmq.Socket[bytes], settings: SocketSettings) -> None:
    """Sets what both socket types share. Reasons and measurements: docs/architecture.md."""
    milliseconds = {
        zmq.HEARTBEAT_IVL: settings.heartbeat_interval,
        zmq.HEARTBEAT_TIMEOUT: settings.down_after,
        zmq.HANDSHAKE_IVL: settings.connect_timeout,
        # Linux: ends a connection whose data is not acknowledged, which the heartbeat behind it cannot.
        zmq.TCP_MAXRT: settings.down_after,
    }
    for option, seconds in milliseconds.items():
        socket.set(option, max(1, int(seconds * 1000)))
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.MAXMSGSIZE, settings.message_bytes)
    # No limit: where libzmq stops reading from a connection that then breaks, a PING in its buffer ends the process.
    # Seen: "Assertion failed: !_io_error", with 38 kB from a stranger (libzmq#4364). Peers that keep to the protocol
    # never send more than the window, or than they were asked for.
    socket.set(zmq.RCVHWM, 0)


def allow_ipv6(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Before a bind or connect: an IPv6 socket would show IPv4 endpoints in their mapped form."""
    socket.set(zmq.IPV6, int("[" in endpoint))


class Routed(enum.Enum):
    """What messages begin with."""

    NOT = "their own first frame"
    PLAIN = "a route, as a router's do"
    IDENTIFIED = "a route, behind the id of the user whom ZAP has let in"


class ZmqSocket:
    """Reads in bounded bursts and sends in one place.

    Args:
        socket: a plain zmq socket; owned from now on.
        loop: the event loop whose thread uses it.
        on_messages: receives bursts of messages.
        on_writable: called once after a refused send, when another may succeed.
        routed: what messages begin with.
        shut: ends the connection with a file descriptor, for :meth:`cut`.
        descriptors: takes the file descriptor of each route, with its first message.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        loop: asyncio.AbstractEventLoop,
        on_messages: Callable[[Sequence[Frames]], None],
        on_writable: Callable[[], None],
        *,
        routed: Routed = Routed.NOT,
        shut: Callable[[int], None] | None = None,
        descriptors: Descriptors | None = None,
    ) -> None:
        self.raw = socket
        self._loop = loop
        self._on_messages = on_messages
        self._on_writable = on_writable
        self._routed = routed is not Routed.NOT
        self._shut = shut
        self._descriptors = descriptors
        self._unwanted: dict[bytes, bool] = {}  # routes that were cut, and whether their connections were ended, too
        self._refused = False
        self._reading = self._sent_while_reading = False
        self._look: asyncio.Handle | None = None
        self._closed = False
        # The methods below pyzmq's convenience layer: a third of the time a message (3 frames: 1.1 against 3.3 us).
        plain: Any = super(zmq.Socket, socket)
        self._send = plain.send
        self._recv = plain.recv
        self._recv_route = self._recv_identified if routed is Routed.IDENTIFIED else plain.recv
        self._get = plain.get
        self._fd: int = plain.get(int(zmq.FD))
        loop.add_reader(self._fd, self._on_ready)
        self.look_soon()

    def send(self, frames: Frames) -> bool:
        """Sends one message; False: it would block, and nothing was sent.

        Raises:
            zmq.ZMQError: EHOSTUNREACH, from a router whose route is gone.
        """
        send = self._send
        try:
            for frame in frames[:-1]:  # only the first frame of a message can be refused
                send(frame, _MORE, len(frame) < ZERO_COPY, False)
            frame = frames[-1]
            send(frame, _NOBLOCK, len(frame) < ZERO_COPY, False)
        except zmq.Again:
            self._refused = True
            self._notice()
            return False
        except zmq.ZMQError:
            # A send that fails has read libzmq's signals too: what it announced would not be announced again.
            self._notice()
            raise
        self._notice()
        return True

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived; from a flood, only the first part.

        Args:
            max_messages: messages, rounded up to whole bursts.
        """
        while max_messages > 0 and not self._closed:
            if not self._get(_EVENTS) & _POLLIN:
                if self._refused:
                    self._notice()
                return
            count = self._read_burst()
            if not count:
                break
            max_messages -= count
        if not self._closed:
            self._notice()

    def cut(self, route: bytes, *, is_ended: bool = False) -> None:
        """Reads no more from a route: the next message of it ends its connection, and none of them is told.

        Args:
            route: of the connection.
            is_ended: whether that was ended already.
        """
        while len(self._unwanted) >= MAX_UNWANTED:
            del self._unwanted[next(iter(self._unwanted))]
        self._unwanted[route] = is_ended

    def close(self, linger: float = 0.0) -> None:
        """Closes the socket; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._look is not None:
            self._look.cancel()
        self._loop.remove_reader(self._fd)
        self.raw.close(int(linger * 1000))

    def look_soon(self) -> None:
        """Looks for messages in the next pass of the event loop: whatever call on the socket may use the signal up."""
        if self._look is None and not self._closed:
            self._look = self._loop.call_soon(self._look_now)

    def _look_now(self) -> None:
        self._look = None
        self._on_ready()

    def _notice(self) -> None:
        """After a send: what it may have used the signal of up is read in the next pass."""
        if self._reading:
            self._sent_while_reading = True
        # Asking is cheaper than a read in vain (1.4 against 3.5 us), and than a pass of the event loop for it.
        elif self._look is None and self._get(_EVENTS) & (_POLLIN | _POLLOUT if self._refused else _POLLIN):
            self.look_soon()

    def _on_ready(self) -> None:
        if self._closed:
            return
        more = 1
        try:
            more = self._read_burst()
        finally:  # whatever its owner made of a message, the next one must be noticed
            if self._closed:
                pass
            elif more:
                self.look_soon()
            elif self._sent_while_reading or self._refused:
                self._notice()

    def _read_burst(self) -> int:
        """Reads one burst. Returns how many messages those were if there may be more, and else zero."""
        messages: list[Frames] = []
        count = size = dropped = 0
        self._reading, self._sent_while_reading = True, False
        try:
            if self._refused and self._get(_EVENTS) & _POLLOUT:
                self._refused = False
                self._on_writable()
            try:
                while not self._closed:
                    message = self._read()
                    count += 1
                    if message is None:
                        dropped += 1
                        if dropped < DROP_BURST:
                            continue
                        break
                    messages.append(message)
                    size += sum(map(len, message))
                    if count - dropped == READ_BURST or size >= READ_BYTES:
                        break
                    if not self._get(_EVENTS) & _POLLIN:
                        count = 0
                        break
            except zmq.Again:
                count = 0  # the signal was not for a message
            if messages:
                self._on_messages(messages)
        finally:
            self._reading = False
        return count

    def _read(self) -> Frames | None:
        """Reads one message; None: of a connection that was cut."""
        recv = self._recv
        # Reading a frame uncopied tells whether more follow without asking for RCVMORE (2.2 against 4.5 us a
        # message), and leaves large ones where they are. A route is small and always followed.
        frames: Frames = [self._recv_route(_NOBLOCK)] if self._routed else []
        if self._unwanted and self._routed and frames[0] in self._unwanted:
            self._drop(bytes(frames[0]))
            return None
        more = True
        while more:
            frame = recv(_NOBLOCK, False)
            frames.append(frame.buffer if len(frame) >= ZERO_COPY else frame.bytes)
            more = frame.more
        if self._descriptors is not None and frames[0] not in self._descriptors:
            descriptor = _descriptor_of(frame)
            if descriptor is not None:
                self._descriptors.add(bytes(frames[0]), descriptor)
        return frames

    def _drop(self, route: bytes) -> None:
        if not self._unwanted[route] and self._shut is not None:
            # Of a message of the connection: only libzmq knows which it is, and has no call that ends it.
            descriptor = _descriptor_of(self._recv(_NOBLOCK, False))
            if descriptor is not None:
                self._unwanted[route] = True
                self._shut(descriptor)
        while self._get(_RCVMORE):
            self._recv(_NOBLOCK)

    def _recv_identified(self, flags: int) -> bytes:
        frame = self._recv(flags, False)
        user: str = frame.get("User-Id")
        return user.encode() + bytes(frame.bytes)


def _descriptor_of(frame: Any) -> int | None:
    """The file descriptor of the connection that a frame came from."""
    try:
        descriptor: int = frame.get(zmq.SRCFD)
    except zmq.ZMQError:  # not every message says it (seen: one of 5 million); the next one will
        return None
    return descriptor
