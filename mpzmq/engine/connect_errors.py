"""Why a container could not be reached, and what to do about it, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import (
    AddressNotFound,
    AuthenticationFailed,
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    HandshakeFailed,
)
from ..failure import Failure, FailureKind

if TYPE_CHECKING:
    from ..protocol.link.link import Link
    from ..transport.interface import Dealer, SocketSettings

__all__ = ["connect_error", "how_far"]

_CONNECT_ERRORS: dict[FailureKind, type[ConnectError]] = {
    FailureKind.REFUSED: ConnectRefused,
    FailureKind.TIMEOUT: ConnectTimeout,
    FailureKind.MUTE: ConnectTimeout,
    FailureKind.STUCK: ConnectTimeout,
    FailureKind.NOT_FOUND: AddressNotFound,
    FailureKind.HANDSHAKE: HandshakeFailed,
    FailureKind.WRONG_SOCKET: HandshakeFailed,
    FailureKind.VERSION: HandshakeFailed,
    FailureKind.MALFORMED: HandshakeFailed,
    FailureKind.MECHANISM: HandshakeFailed,
    FailureKind.DENIED: AuthenticationFailed,
    FailureKind.WRONG_KEY: AuthenticationFailed,
}

_ADVICE: dict[FailureKind, str] = {
    FailureKind.REFUSED: "start the container, or check host and port",
    FailureKind.TIMEOUT: "check the address, and firewalls on the way",
    FailureKind.UNREACHABLE: "check the address and the route to it",
    FailureKind.MUTE: "something else than an mpzmq container listens there, or its process is frozen",
    FailureKind.NOT_FOUND: "check the spelling, and the resolver of this host",
    FailureKind.HANDSHAKE: (
        "the container has keys, and this engine has none, or something else than an mpzmq container listens there,"
        " such as an HTTP server"
    ),
    FailureKind.WRONG_SOCKET: "check the port",
    FailureKind.VERSION: "update the older side",
    FailureKind.MECHANISM: "give both sides keys (security=), or none",
    FailureKind.DENIED: "add its public key to the container's allow-list, and connect again",
    FailureKind.WRONG_KEY: "compare server_key with the container's own ('mpzmq keys show'), and look at its log",
    FailureKind.LOST: (
        "the container ended while it was being greeted, or one of the two hosts was too busy for heartbeats:"
        " look at its log"
    ),
    FailureKind.MALFORMED: "the side that sent it has to be mended: docs/protocol.md says what each field is",
    FailureKind.REJECTIONS: "raise its limit, or connect to another container",
}


def connect_error(failure: Failure, link: Link, address: str) -> ConnectError:
    """The error that tells of a dial or connection that ended."""
    advice = _ADVICE.get(failure.kind)
    text = f"cannot connect to {link.error_factory.whom}: {failure.detail}" + (f"; {advice}" if advice else "")
    cls = _CONNECT_ERRORS.get(failure.kind, ConnectError)
    return cls(text, address=address, name=link.error_factory.name, attempts=link.attempts.failed)


def how_far(link: Link, dealer: Dealer | None, settings: SocketSettings) -> str:
    """Where a dial that has not succeeded stands, and what to do."""
    if link.is_handshaken:
        return (
            "the ZMTP handshake was done, but no WELCOME came: the container's event loop is blocked,"
            " or it is not an mpzmq container"
        )
    if dealer is None:
        return "its host name was not resolved yet: check the resolver of this host"
    if dealer.is_accepted:
        keys = "" if settings.curve is None else ", or its authenticator has ended"
        return f"the connection was accepted, but nothing was said; {_ADVICE[FailureKind.MUTE]}{keys}"
    return "the host did not answer: check the address, and firewalls on the way"
