"""The numbers on the wire: kinds of records, operations, flags, codes. docs/protocol.md tells what each means."""

from __future__ import annotations

from typing import Final

__all__ = ["GIVES", "NAMED", "STREAMED", "TAKES", "UNASKED", "Code", "Flag", "Goodbye", "Kind", "Op"]


class Kind:
    """The first element of a record. 16 to 31 are for streams and large messages; unknown ones are ignored.

    11, 13 and 14 were records of version 1, and are not used again.
    """

    HELLO: Final = 1
    WELCOME: Final = 2
    REQUEST: Final = 3
    RESPONSE: Final = 4
    ERROR: Final = 5
    CANCEL: Final = 6
    PING: Final = 7
    PONG: Final = 8
    GOODBYE: Final = 9
    STARTED: Final = 10
    RECEIVED: Final = 12
    CHUNK: Final = 16
    CREDIT: Final = 17
    PART: Final = 18
    TAKEN: Final = 19
    JOIN: Final = 20


class Op:
    """What a REQUEST asks for."""

    INVOKE: Final = 0
    SETSTATE: Final = 1
    GETSTATE: Final = 2
    CALL: Final = 3
    DESCRIBE: Final = 4
    STREAM: Final = 5
    UPLOAD: Final = 6
    CHANNEL: Final = 7
    STATISTICS: Final = 8


class Flag:
    """Bits of a REQUEST."""

    IDEMPOTENT: Final = 1
    CHOSEN: Final = 2  # the caller chose the id, and may issue it again


class Code:
    """What an ERROR record says."""

    NO_SESSION: Final = 1
    MALFORMED: Final = 2
    UNSUPPORTED: Final = 3
    INVALID_ARGUMENTS: Final = 4
    STOPPED: Final = 5
    DRAINING: Final = 6
    REFUSED: Final = 7
    OVERLOADED: Final = 8
    CANCELLED: Final = 9
    EXPIRED: Final = 10
    REMOTE: Final = 11
    ID_REUSED: Final = 12
    STALE: Final = 13
    NOT_KEPT: Final = 14
    NOT_PERMITTED: Final = 15


class Goodbye:
    """Why a side says GOODBYE."""

    DRAINING: Final = 1
    CLOSED: Final = 2
    VERSION: Final = 3
    TOO_MANY_SESSIONS: Final = 4
    NOT_ALLOWED: Final = 5
    MALFORMED: Final = 6


GIVES: Final = frozenset({Op.STREAM, Op.CHANNEL})
"""Operations whose results come piece by piece."""

TAKES: Final = frozenset({Op.UPLOAD, Op.CHANNEL})
"""Operations whose data goes piece by piece."""

STREAMED: Final = GIVES | TAKES
"""Both."""

NAMED: Final = STREAMED | {Op.CALL}
"""Operations that name a function."""

UNASKED: Final = 0
"""The number of a PONG that answers no PING: a quarter of the window was read."""
