"""Why a dial or a connection ended: told by a transport, judged by a link."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Failure", "FailureKind"]


class FailureKind(enum.Enum):
    """What went wrong below the protocol."""

    LOCAL = "this process could not dial"
    REFUSED = "connection refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "no answer"
    MUTE = "accepted, but mute"
    HANDSHAKE = "no ZMTP handshake"
    NOT_FOUND = "name not found"
    LOST = "connection lost"
    STUCK = "stuck"
    DENIED = "denied"
    WRONG_KEY = "another key, perhaps"
    MECHANISM = "another security mechanism"
    WRONG_SOCKET = "wrong socket type"
    VERSION = "another protocol version"
    REJECTIONS = "turned away"
    LEFT = "has left"
    MALFORMED = "a greeting that cannot be accepted"


_FATAL = {FailureKind.DENIED, FailureKind.MECHANISM, FailureKind.WRONG_SOCKET, FailureKind.VERSION, FailureKind.LEFT}


@dataclass(frozen=True, slots=True)
class Failure:
    """One dial or connection that ended.

    Attributes:
        kind: what went wrong.
        detail: the same in words, with the evidence.
        was_up: whether the ZMTP handshake of this connection had ended.
        is_forgotten: whether nobody will ever tell what became of what had left on it.
    """

    kind: FailureKind
    detail: str
    was_up: bool = False
    is_forgotten: bool = False

    @property
    def fatal(self) -> bool:
        """Whether dialling again cannot help."""
        return self.kind in _FATAL
