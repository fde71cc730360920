"""Decides who may connect to this process's containers: one thread for all routers of a context.

It answers libzmq's questions about keys (ZAP, rfc.zeromq.org/spec/27), and closes connections where too many are in
the middle of their handshake. In a thread of its own, so that a container whose event loop is blocked still lets its
engines in, and nobody else. If the thread ends, libzmq lets nobody in (``ZAP_ENFORCE_DOMAIN``).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zmq

from ...common.logs import Log, LogRateLimit
from .addresses import SocketAddresses
from .curve import fingerprint, z85
from .monitor import EVENT, HANDSHAKE_FAILED

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..interface import KeyVerifier

__all__ = ["WATCHED", "Authenticator", "ListenerWatch"]

log = Log(__name__)

REFRESH_INTERVAL = 1.0
"""Seconds between two looks at the allow-lists."""

GRACE = 1.0
"""Seconds for libzmq to tell that a handshake has taken too long."""

_ZAP = "inproc://zeromq.zap.01"

_HANDSHAKE_ENDED = HANDSHAKE_FAILED | int(zmq.EVENT_HANDSHAKE_SUCCEEDED)

WATCHED = _HANDSHAKE_ENDED | int(
    zmq.EVENT_ACCEPTED | zmq.EVENT_ACCEPT_FAILED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED
)
"""Events of a router that the authenticator is told of."""


@dataclass(slots=True, eq=False)
class ListenerWatch:
    """One router, as the authenticator sees it.

    Attributes:
        domain: its name in ZAP.
        key_verifier: knows who gets in; None: whoever comes.
        max_handshakes: handshakes that may be under way.
        patience: seconds after which libzmq has ended one in any case.
        on_closed: called, from the authenticator's thread, for each listener that libzmq has closed.
        on_disconnected: called, from the authenticator's thread, with what was the descriptor of a connection that has
            ended.
        addresses: where it listens.
        begun: when each of the handshakes began that may not have ended yet, in order.
        unheard: when each of the connections was accepted that stand, and were not seen to have sent a message; its
            router takes those out that have.
    """

    domain: str
    key_verifier: KeyVerifier | None
    max_handshakes: int
    patience: float
    on_closed: Callable[[], None]
    on_disconnected: Callable[[int], None]
    addresses: SocketAddresses = field(default_factory=SocketAddresses)
    begun: deque[float] = field(default_factory=deque)
    unheard: dict[int, float] = field(default_factory=dict)
    _warnings: LogRateLimit = field(default_factory=LogRateLimit)

    def accepted(self, descriptor: int, now: float) -> None:
        """A connection was accepted: one too many is closed again."""
        self.unheard[descriptor] = now
        begun = self.begun
        # Of some libzmq tells no end (a peer of the wrong kind of socket), and of all others by then.
        while begun and begun[0] < now - self.patience - GRACE:
            begun.popleft()
        if len(begun) >= self.max_handshakes:
            self.warn(
                f"turns connections away: {self.max_handshakes} handshakes are under way (Limits.handshakes)", now
            )
            self.close_fd(descriptor)
        begun.append(now)  # one that was turned away, too: its end will be told like any other's

    def handshake_ended(self) -> None:
        """One of them has succeeded or failed; libzmq does not say which.

        It counts as the newest: those of which no end is told must grow old, however many come and go meanwhile.
        """
        if self.begun:
            self.begun.pop()

    def warn(self, text: str, now: float) -> None:
        """Tells the log, but not every time."""
        if self._warnings.allows(now):
            log.warning("the container at %s %s", self.addresses, text)

    def close_fd(self, descriptor: int) -> None:
        """Ends a connection that libzmq has accepted, which has no call for it. From any thread.

        The number may meanwhile belong to something else in this process. A copy of it cannot change any more: if that
        is a connection to one of this router's endpoints, ending it harms at most an engine, which dials again.
        """
        with contextlib.suppress(OSError):
            copy = os.dup(descriptor)
            try:
                connection = socket.socket(fileno=copy)
            except OSError:  # it is none, by now
                os.close(copy)
                raise
            with connection:
                if connection.getsockname() in self.addresses:
                    connection.shutdown(socket.SHUT_RDWR)


class Authenticator(threading.Thread):
    """The thread. Started by its constructor; ended by :meth:`stop`.

    Raises:
        zmq.ZMQError: another authenticator answers for the context.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        super().__init__(name="mpzmq-authenticator", daemon=True)
        self._new: deque[tuple[zmq.Socket[bytes], ListenerWatch]] = deque()
        self._watches: dict[zmq.Socket[bytes], ListenerWatch] = {}
        self._stopping = self._has_ended = False
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        try:
            self._questions = context.socket(zmq.REP)
        except BaseException:
            self._wake.close()
            self._woken.close()
            raise
        try:
            self._questions.set(zmq.LINGER, 0)
            self._questions.bind(_ZAP)
            self.start()
        except BaseException:
            self._close()  # or the context could not be ended
            raise

    @property
    def has_ended(self) -> bool:
        """Whether nobody gets in any more."""
        return self._has_ended

    def watch(self, events: zmq.Socket[bytes], watch: ListenerWatch) -> None:
        """Takes a new router over.

        Args:
            events: a PAIR socket connected to the router's monitor; used by the authenticator's thread from now on,
                and closed when the monitor stops.
            watch: what it is told of.
        """
        self._new.append((events, watch))
        self._ring()

    def stop(self) -> None:
        """Ends the thread, and waits for it."""
        self._stopping = True
        self._ring()
        self.join()
        self._close()

    def run(self) -> None:
        """Serves until stopped."""
        try:
            self._serve()
        except BaseException:
            self._fail()

    def _fail(self) -> None:
        """Whatever it was: that nobody gets in any more must not be found out from the engines."""
        text = "the authenticator has ended: secure containers of this process accept no engine any more, restart it"
        log.critical(text, exc_info=True)
        self._has_ended = True
        self._questions.close(0)  # without it libzmq refuses all keys at once

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._questions, zmq.POLLIN)
        poller.register(self._woken.fileno(), zmq.POLLIN)
        refresh_at = time.monotonic() + REFRESH_INTERVAL
        while not self._stopping:
            ready = dict(poller.poll(max(0, int((refresh_at - time.monotonic()) * 1000) + 1)))
            if self._woken.fileno() in ready:
                self._woken.recv(4096)
                while self._new:
                    events, watch = self._new.popleft()
                    self._watches[events] = watch
                    poller.register(events, zmq.POLLIN)
            for events in [events for events in self._watches if events in ready]:
                if not self._watch(events, self._watches[events]):
                    poller.unregister(events)
                    events.close(0)
                    del self._watches[events]
            if self._questions in ready:
                try:
                    self._questions.send_multipart(self._answer(self._questions.recv_multipart()))
                except BaseException:
                    # Keys that are removed are still to be cut off, and monitors without a reader would stop libzmq.
                    poller.unregister(self._questions)
                    self._fail()
            if time.monotonic() >= refresh_at:
                refresh_at = time.monotonic() + REFRESH_INTERVAL
                for watch in self._watches.values():
                    if watch.key_verifier is not None:
                        try:
                            watch.key_verifier.reload()
                        except Exception as error:  # one container's list is not to harm another's
                            log.error("an allow-list could not be looked at", exc_info=error)

    def _watch(self, events: zmq.Socket[bytes], watch: ListenerWatch) -> bool:
        """Reads what a monitor tells; False: it has stopped."""
        now = time.monotonic()
        with contextlib.suppress(zmq.Again):
            while True:
                event, value = EVENT.unpack(events.recv_multipart(zmq.NOBLOCK)[0])
                if event == zmq.EVENT_ACCEPTED:
                    watch.accepted(value, now)
                elif event & _HANDSHAKE_ENDED:
                    watch.handshake_ended()
                elif event == zmq.EVENT_ACCEPT_FAILED:
                    watch.warn(f"cannot accept connections: {os.strerror(value)}", now)
                elif event == zmq.EVENT_DISCONNECTED:
                    watch.unheard.pop(value, None)
                    watch.on_disconnected(value)
                elif event == zmq.EVENT_CLOSED:
                    watch.on_closed()
                elif event == zmq.EVENT_MONITOR_STOPPED:
                    return False
        return True

    def _answer(self, question: list[bytes]) -> list[bytes]:
        """The reply to a question about a key: 200 with the key as user id, or 400."""
        _version, number, domain, address, _identity, mechanism, *credentials = question
        key = z85(credentials[0]) if mechanism == b"CURVE" and len(credentials[0]) == 32 else None
        watch = next((watch for watch in self._watches.values() if watch.domain.encode() == domain), None)
        keeper = None if watch is None else watch.key_verifier
        admitted = key is not None and keeper is not None and keeper.is_allowed(key)
        if watch is not None and key is not None and not admitted:
            who = f"{key} ({fingerprint(key)}) from {address.decode(errors='replace')}"
            watch.warn(f"refused the key {who}: it is not on the allow-list", time.monotonic())
        status, text = (b"200", b"OK") if admitted else (b"400", b"this key is not allowed")
        return [b"1.0", number, status, text, key.encode() if admitted and key is not None else b"", b""]

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # full: it has not looked yet; closed: it has ended
            self._wake.send(b"\0")

    def _close(self) -> None:
        self._questions.close(0)
        for events in [*self._watches, *(events for events, _ in self._new)]:
            events.close(0)
        self._watches.clear()
        self._new.clear()
        self._wake.close()
        self._woken.close()
