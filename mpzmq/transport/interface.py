"""The interface of a transport, as the engine and the container see it.

All callbacks are made from the event loop, never from inside a call of the same object.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..failure import Failure

__all__ = [
    "Curve",
    "Dealer",
    "DealerHandler",
    "DealerMaker",
    "Delivery",
    "Frames",
    "KeyVerifier",
    "LinkHandler",
    "Router",
    "RouterHandler",
    "SocketSettings",
    "Transport",
]

Frames = list[bytes | memoryview]

PROMPT_INTERVAL = 0.04
"""Seconds: with its jitter the first redial behind a connection that was greeted leaves within 0.1 s."""


class KeyVerifier(Protocol):
    """Who decides which keys get in; asked from the authenticator's thread, not from an event loop's."""

    def is_allowed(self, key: str) -> bool:
        """Whether the holder of a public key may connect."""

    def reload(self) -> None:
        """Called every now and then, to see whether that has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What a socket needs to encrypt and to authenticate.

    Attributes:
        public, secret: its own keys.
        server_keys: of a dealer: the keys that the other side may have.
        key_verifier: of a router: who gets in.
    """

    public: str
    secret: str = field(repr=False)
    server_keys: tuple[str, ...] = ()
    key_verifier: KeyVerifier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketSettings:
    """What a socket has to know of the policies, in seconds and bytes.

    Attributes:
        redial_interval: between redials; :meth:`redial_delay` adds a jitter.
        connect_timeout: for TCP and for the ZMTP handshake each.
        heartbeat_interval: between the heartbeats of libzmq.
        down_after: silence of the other process or host after which a connection is given up.
        message_bytes: the largest frame that is accepted.
        handshakes: connections to a router that may be in the middle of their ZMTP handshake.
        curve: keys; None: neither encrypted nor authenticated.
    """

    redial_interval: float
    connect_timeout: float
    heartbeat_interval: float
    down_after: float
    message_bytes: int
    handshakes: int = 1
    curve: Curve | None = None

    def redial_delay(self, chance: float, *, prompt: bool) -> float:
        """Seconds until the next dial: an interval and a jitter of up to one more, as libzmq has it.

        All engines of a container that was restarted would come at once without the jitter.

        Args:
            chance: the jitter, from 0 to 1.
            prompt: whether the connection before was a good one: most likely the next one is, too.
        """
        interval = min(self.redial_interval, PROMPT_INTERVAL) if prompt else self.redial_interval
        return interval * (1 + chance)


class Delivery(enum.Enum):
    """What became of a message that was to be sent."""

    SENT = enum.auto()
    FULL = enum.auto()
    GONE = enum.auto()


class DealerHandler(Protocol):
    """Who owns a dealer."""

    def on_messages(self, messages: Sequence[Frames]) -> None:
        """Messages have arrived."""

    def on_connection(self, changes: Sequence[Failure | None]) -> None:
        """Connections began (None: the ZMTP handshake is done) or ended, in this order.

        What an ended connection had delivered can still be read, by :meth:`Dealer.drain`.
        """

    def on_redial(self) -> bool:
        """A fresh dial is about to be scheduled. Returns whether it may leave promptly, or has to wait an interval."""

    def on_writable(self) -> None:
        """A send that was refused may succeed now."""


class LinkHandler(DealerHandler, Protocol):
    """Who owns what may share its socket with others, so that the end of one connection is not told for certain."""

    def on_doubt(self) -> None:
        """The connection may have ended: something is to be sent, which shows whether it has."""


class Dealer(Protocol):
    """One side's socket to one other side; it redials by itself until it is closed."""

    @property
    def is_accepted(self) -> bool:
        """Whether the other host has accepted the connection, though perhaps not greeted yet."""

    def send(self, frames: Frames) -> bool:
        """Sends a message; False: not now, ``on_writable`` tells when."""

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived, now: ``max_messages`` messages, or a few more."""

    def redirect(self, endpoint: str) -> None:
        """Dials another endpoint, at once and from now on."""

    def redial(self) -> None:
        """Gives the connection up and dials anew, when :meth:`DealerHandler.on_redial` says."""

    def close(self, linger: float) -> None:
        """Closes, trying for ``linger`` seconds in the background to send what was taken."""


class RouterHandler(Protocol):
    """Who owns a router."""

    def on_messages(self, messages: Sequence[Frames]) -> None:
        """Messages have arrived; the first frame of each is its route: an address for answers, and nothing else."""

    def on_disconnected(self, routes: Sequence[bytes]) -> None:
        """Connections may have ended: for certain it is known once a message for one is ``Delivery.GONE``.

        It may be so only a few milliseconds later. What a connection had delivered before was told before, as a rule.
        """


class Router(Protocol):
    """One side's socket to many others."""

    def bind(self, endpoint: str) -> str:
        """Listens on an endpoint and returns it with its real port.

        Raises:
            OSError: the endpoint cannot be bound.
        """

    def send(self, route: bytes, frames: Frames) -> Delivery:
        """Sends a message to one route."""

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived, now: ``max_messages`` messages, or a few more."""

    def key_of(self, route: bytes) -> str | None:
        """The public key that was authenticated on a route; None: there is no security."""

    def cut(self, route: bytes) -> None:
        """Ends a connection at its next message; what has arrived from it and was not read is dropped."""

    def end(self, route: bytes) -> None:
        """Ends a connection at once, if it is known which one that is, and else as :meth:`cut` does."""

    def end_silent(self, seconds: float) -> None:
        """Ends connections that were accepted so many seconds ago or more, and have not sent a message."""

    async def close(self, linger: float) -> None:
        """Closes, trying for ``linger`` seconds to send what was taken; returns when the endpoints are free."""


class DealerMaker(Protocol):
    """Makes the sockets of links."""

    def dealer(self, endpoint: str, settings: SocketSettings, handler: LinkHandler) -> Dealer:
        """Dials an endpoint."""


class Transport(DealerMaker, Protocol):
    """Makes sockets."""

    def dealer(self, endpoint: str, settings: SocketSettings, handler: DealerHandler) -> Dealer:
        """Dials an endpoint."""

    def router(self, settings: SocketSettings, handler: RouterHandler) -> Router:
        """A router that listens nowhere yet."""

    async def release(self) -> None:
        """Ends what the sockets shared. Every socket has to be closed before."""
