"""The numbers on the wire: kinds of records, operations, flags, codes. docs/protocol.md tells what each means."""

from __future__ import annotations

__all__ = ["GIVES", "NAMED", "STREAMED", "TAKES", "UNASKED", "Code", "Flag", "Goodbye", "Kind", "Op"]


class Kind:
    """The first element of a record. 16 to 31 are for streams and large messages; unknown ones are ignored.

    11, 13 and 14 were records of version 1, and are not used again; 20 is kept for JOIN, of containers that dial.
    """

    HELLO = 1
    WELCOME = 2
    REQUEST = 3
    RESPONSE = 4
    ERROR = 5
    CANCEL = 6
    PING = 7
    PONG = 8
    GOODBYE = 9
    STARTED = 10
    RECEIVED = 12
    CHUNK = 16
    CREDIT = 17
    PART = 18
    TAKEN = 19


class Op:
    """What a REQUEST asks for."""

    INVOKE = 0
    SETSTATE = 1
    GETSTATE = 2
    CALL = 3
    DESCRIBE = 4
    STREAM = 5
    UPLOAD = 6
    CHANNEL = 7


class Flag:
    """Bits of a REQUEST."""

    IDEMPOTENT = 1
    CHOSEN = 2  # the caller chose the id, and may issue it again


class Code:
    """What an ERROR record says."""

    NO_SESSION = 1
    MALFORMED = 2
    UNSUPPORTED = 3
    INVALID_ARGUMENTS = 4
    STOPPED = 5
    DRAINING = 6
    REFUSED = 7
    OVERLOADED = 8
    CANCELLED = 9
    EXPIRED = 10
    REMOTE = 11
    ID_REUSED = 12
    STALE = 13
    NOT_KEPT = 14
    NOT_PERMITTED = 15


class Goodbye:
    """Why a side says GOODBYE."""

    DRAINING = 1
    CLOSED = 2
    VERSION = 3
    TOO_MANY_SESSIONS = 4
    NOT_ALLOWED = 5
    MALFORMED = 6


GIVES = frozenset({Op.STREAM, Op.CHANNEL})
"""Operations whose results come piece by piece."""

TAKES = frozenset({Op.UPLOAD, Op.CHANNEL})
"""Operations whose data goes piece by piece."""

STREAMED = GIVES | TAKES
"""Both."""

NAMED = STREAMED | {Op.CALL}
"""Operations that name a function."""

UNASKED = 0
"""The number of a PONG that answers no PING: a quarter of the window was read."""
