"""The engine's socket to one container. Its monitor is turned into one outcome per dial."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import random
from typing import TYPE_CHECKING

import zmq

from ...failure import Failure, FailureKind
from .curve import as_client, fingerprint
from .monitor import DIALLING, HANDSHAKE_FAILED, Monitor
from .socket import ZmqSocket, allow_ipv6, configure

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from ..interface import DealerHandler, Frames, SocketSettings

__all__ = ["ZmqDealer"]

GIVE_UP_GRACE = 0.5
"""Seconds in which libzmq announces its next dial after a connection has ended; without that it has stopped."""

_MECHANISM_MISMATCH = zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH


class _Phase(enum.Enum):
    DIALLING = enum.auto()
    CONNECTED = enum.auto()
    UP = enum.auto()
    ENDED = enum.auto()


class ZmqDealer:
    """A DEALER to one endpoint.

    libzmq dials again by itself, after the interval and a jitter of up to one more. What its monitor tells becomes
    one ``None`` per finished ZMTP handshake and one :class:`Failure` per dial or connection that ended.

    Only behind a connection that was established a fresh socket dials, as long after. A socket that libzmq itself
    connects again either sends first what was meant for the connection before (a REQUEST in front of HELLO), or, with
    ``IMMEDIATE``, ends the process: where it is told of the loss between two frames of one message, an assertion fails
    (fq.cpp, "!_more"; libzmq 4.3.5).
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        loop: asyncio.AbstractEventLoop,
        endpoint: str,
        settings: SocketSettings,
        handler: DealerHandler,
    ) -> None:
        self._context = context
        self._loop = loop
        self.endpoint = endpoint
        """What it dials."""
        self._settings = settings
        self._handler = handler
        self._timer: asyncio.Handle | None = None
        self._socket: ZmqSocket | None = None
        self._closed = False
        self._curve = settings.curve
        self._server_key, *self._untried = ("",) if self._curve is None else self._curve.server_keys
        self._begin_dial(0.0)
        try:
            self._open()
        except OSError:
            # The next try tells the handler, which does not know us yet.
            self._timer = loop.call_soon(self._open_again)

    @property
    def is_accepted(self) -> bool:
        """Whether the other host has accepted the connection, though perhaps not greeted yet."""
        return self._phase in (_Phase.CONNECTED, _Phase.UP)

    def send(self, frames: Frames) -> bool:
        """Sends a message; False: not now."""
        return self._socket is not None and self._socket.send(frames)

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived, now: ``max_messages`` messages, or a few more."""
        if self._socket is not None:
            self._socket.drain(max_messages)

    def redirect(self, endpoint: str) -> None:
        """Dials another endpoint, at once and from now on."""
        self._cancel_timer()
        if self._socket is None or self._lost:
            self._shut(0.0)
            self.endpoint = endpoint
            self._open_again()
            return
        with contextlib.suppress(zmq.ZMQError):  # libzmq may have dropped the endpoint by itself
            self._socket.raw.disconnect(self.endpoint)
        self.endpoint = endpoint
        self._begin_dial(0.0)
        allow_ipv6(self._socket.raw, endpoint)
        self._socket.raw.connect(endpoint)
        self._socket.look_soon()

    def redial(self) -> None:
        """Gives the connection up and dials anew, on a fresh socket."""
        self._shut(0.0)
        if not self._closed:
            delay = self._settings.redial_delay(random.random(), prompt=self._handler.on_redial())
            self._timer = self._loop.call_later(delay, self._open_again)

    def close(self, linger: float) -> None:
        """Closes; idempotent."""
        self._closed = True
        self._shut(linger)

    def _open_again(self) -> None:
        """Opens a socket, and where that fails, too, tries once more after the interval: no redial is the last one."""
        try:
            self._open()
        except OSError as error:
            self._timer = self._loop.call_later(self._settings.redial_interval, self._open_again)
            self._handler.on_connection([Failure(FailureKind.LOCAL, error.strerror or str(error))])

    def _open(self) -> None:
        self._timer = None
        try:
            self._open_socket()
        except BaseException as error:  # no file descriptor is left, mostly
            self._shut(0.0)
            if not isinstance(error, zmq.ZMQError):
                raise
            raise OSError(error.errno, f"cannot dial {self.endpoint}: {error.strerror}") from None

    def _open_socket(self) -> None:
        raw = self._context.socket(zmq.DEALER)
        configure(raw, self._settings)
        raw.set(zmq.RECONNECT_IVL, max(1, int(self._settings.redial_interval * 1000)))
        raw.set(zmq.CONNECT_TIMEOUT, max(1, int(self._settings.connect_timeout * 1000)))
        if self._curve is not None:
            as_client(raw, self._curve, self._server_key)
        try:
            self._monitor = Monitor(self._context, raw, DIALLING, self._loop, self._on_events)
        except zmq.ZMQError:
            raw.close(0)
            raise
        self._socket = ZmqSocket(raw, self._loop, self._handler.on_messages, self._handler.on_writable)
        self._begin_dial(0.0)
        allow_ipv6(raw, self.endpoint)
        raw.connect(self.endpoint)

    def _shut(self, linger: float) -> None:
        self._cancel_timer()
        if self._socket is not None:
            self._monitor.close()
            self._socket.close(linger)
            self._socket = None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_dial(self, wait: float) -> None:
        self._phase = _Phase.DIALLING
        self._reason: Failure | None = None
        self._delayed = self._lost = False
        self._dialled_at = self._loop.time() + wait

    def _on_events(self, events: Sequence[tuple[int, int, str]]) -> None:
        if self._closed:
            return
        changes: list[Failure | None] = []
        for event, value, endpoint in events:
            # After a redirect the old endpoint still has a word or two to say.
            if endpoint == self.endpoint and not self._lost:
                changes.extend(self._judge(event, value))
        if changes:
            self._handler.on_connection(changes)

    def _judge(self, event: int, value: int) -> Sequence[Failure | None]:
        """What one event of the monitor means."""
        if event == zmq.EVENT_CONNECT_DELAYED:
            self._delayed = True
        elif event == zmq.EVENT_CONNECTED:
            self._phase = _Phase.CONNECTED
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._phase = _Phase.UP
            self._untried = self._other_keys()
            return [None]
        elif event & HANDSHAKE_FAILED:
            self._reason = self._handshake_failure(event, value)
        elif event == zmq.EVENT_CLOSED and self._phase is _Phase.DIALLING:
            self._reason = self._dial_failure()
        elif event == zmq.EVENT_DISCONNECTED:
            return self._disconnected()
        elif event == zmq.EVENT_CONNECT_RETRIED:
            self._cancel_timer()
            announced = self._phase is _Phase.ENDED
            failure = self._reason or self._dial_failure()
            if failure.kind is FailureKind.WRONG_KEY and self._untried:
                self._try_next_key()
                return []
            self._untried = self._other_keys()
            self._begin_dial(value / 1000)
            return [] if announced else [failure]
        return []

    def _other_keys(self) -> list[str]:
        return [] if self._curve is None else [key for key in self._curve.server_keys if key != self._server_key]

    def _try_next_key(self) -> None:
        """The container has another key than this one: if there are several that it may have, the dial goes on."""
        self._server_key = self._untried.pop(0)
        self._shut(0.0)
        self._timer = self._loop.call_soon(self._open_again)

    def _disconnected(self) -> Sequence[Failure | None]:
        self._cancel_timer()
        if self._phase is _Phase.UP:
            # Whatever else is told of this socket is of no interest. What it has received is read before it goes.
            self._phase, self._lost = _Phase.ENDED, True
            self._timer = self._loop.call_soon(self.redial)
            return [Failure(FailureKind.LOST, f"the connection to {self.endpoint} was lost", was_up=True)]
        failure = self._reason
        if failure is not None and failure.fatal:
            self._phase = _Phase.ENDED
        self._timer = self._loop.call_later(GIVE_UP_GRACE, self._given_up)
        return [failure] if self._phase is _Phase.ENDED else []

    def _given_up(self) -> None:
        """libzmq has not announced another dial after a connection ended: it has stopped for good."""
        self._timer = None
        if self._phase is _Phase.ENDED:
            # Told already. If the link still stands, it wants another dial.
            self.redial()
            return
        detail = (
            f"{self.endpoint} speaks ZMTP, but refused a DEALER: its socket is no ROUTER (a PUB, a REP ...),"
            " so it is not an mpzmq container"
        )
        self._phase = _Phase.ENDED
        self._handler.on_connection([self._reason or Failure(FailureKind.WRONG_SOCKET, detail)])
        if not self._closed:
            self.redial()

    def _dial_failure(self) -> Failure:
        """The outcome of a dial that did not reach TCP's end. libzmq tells no errno: order and time tell it."""
        timeout = self._settings.connect_timeout
        if not self._delayed and not self.endpoint.startswith("ipc:"):
            return Failure(FailureKind.UNREACHABLE, f"no route to {self.endpoint}: the network is unreachable")
        if self._loop.time() - self._dialled_at >= 0.9 * timeout:
            return Failure(FailureKind.TIMEOUT, f"no answer from {self.endpoint} to a TCP connect in {timeout:g} s")
        return Failure(FailureKind.REFUSED, f"nothing listens at {self.endpoint}: connection refused")

    def _handshake_failure(self, event: int, value: int) -> Failure:
        endpoint = self.endpoint
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            own = "" if self._curve is None else f"'s key {self._curve.public} ({fingerprint(self._curve.public)})"
            return Failure(FailureKind.DENIED, f"{endpoint} denied this engine{own} (ZAP status {value})")
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            if value == _MECHANISM_MISMATCH:
                who = "this engine has keys, and the container has none"
                if self._curve is None:
                    who = "the container has keys, and this engine has none"
                return Failure(FailureKind.MECHANISM, f"{endpoint} wants another security mechanism: {who}")
            return Failure(FailureKind.HANDSHAKE, f"{endpoint} broke the ZMTP protocol (error {value:#x})")
        if value in (errno.EAGAIN, errno.ETIMEDOUT):
            timeout = self._settings.connect_timeout
            detail = f"{endpoint} accepted the connection, but said nothing for {timeout:g} s"
            if self._curve is not None:
                detail += ", as a container does whose authenticator has ended"
            return Failure(FailureKind.MUTE, detail)
        if self._curve is not None:
            # libzmq does not say why: so ends a container that cannot decrypt what was meant for another one's key.
            detail = (
                f"{endpoint} ended the handshake: its key is probably not {self._server_key}"
                f" ({fingerprint(self._server_key)}), or it has none, or its authenticator has ended, or it has too"
                " many handshakes under way"
            )
            return Failure(FailureKind.WRONG_KEY, detail)
        said = os.strerror(value) if value else "no reason given"
        detail = f"{endpoint} accepted the connection, but ended it before the ZMTP handshake was done ({said})"
        return Failure(FailureKind.HANDSHAKE, detail)
