"""Records and messages: what stands on the wire.

One message is a list of frames: ``[tags, records, buffer, ...]``. The tags are n x 16 bytes, the records n
MessagePack arrays back to back, ``[kind, ...]``, in the order of their tags. docs/protocol.md is the
specification, with vectors that a test checks against this module.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..message import Executed, Status
from .decoder import CONTAINERS, Decoder
from .scan import HostileData
from .values import Buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config import Limits

__all__ = ["TAG", "Code", "Flag", "Goodbye", "Kind", "Message", "MessageReader", "Op"]

VERSION = 1
"""The version of the protocol. HELLO lists what an engine speaks, WELCOME names what is spoken."""

TAG = struct.Struct("16s")
"""One tag; its ``iter_unpack`` takes tags that stand back to back apart."""

LINK_TAG = bytes(16)
"""The tag of records that belong to the link and not to a request."""

BATCH_BYTES = 64 * 1024
"""A message is cut at this size: larger batches gain nothing and delay what stands behind them."""

MOST_TAGS = 1024
"""Tags that one RECEIVED names: it fits into any message with others."""

LONGEST_TEXT = 1024
"""Characters of a GOODBYE that are kept: the error of every request that it ends repeats them."""

Frames = list[Buffer]
Record = list[Any]


class Kind:
    """The first element of a record. 16 to 31 are reserved for streams; unknown kinds are ignored and counted."""

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
    ACK = 11
    RECEIVED = 12
    MARK = 13
    ECHO = 14


class Op:
    """What a REQUEST asks for."""

    INVOKE = 0
    SETSTATE = 1
    GETSTATE = 2
    CALL = 3
    DESCRIBE = 4


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


STATUSES = (Status.STOP, Status.RUNNING)
STATUS_NUMBER = {status: number for number, status in enumerate(STATUSES)}
EXECUTED = (Executed.NO, Executed.UNKNOWN, Executed.YES)
EXECUTED_NUMBER = {executed: number for number, executed in enumerate(EXECUTED)}


def hello(session: UUID, number: int, name: str, interval: float, limits: Limits) -> Record:
    """The engine's greeting on a new connection."""
    return [Kind.HELLO, [VERSION], session, number, name, interval, announced(limits)]


def welcome(
    instance: UUID, number: int, resumed: bool, status: Status, name: str, interval: float, limits: Limits
) -> Record:
    """The container's answer to HELLO."""
    window = [limits.window, limits.queued_bytes]
    return [
        Kind.WELCOME, VERSION, instance, number, resumed, STATUS_NUMBER[status], name, interval, window,
        announced(limits),
    ]  # fmt: skip


def announced(limits: Limits) -> dict[str, int]:
    """The limits that the other side has to know: beyond them its messages would be refused."""
    return {
        "message_bytes": limits.message_bytes,
        "batch_records": limits.batch_records,
        "depth": limits.depth,
        "items": limits.items,
    }


class Message:
    """One decoded message.

    Attributes:
        records: what can be acted upon, each with its tag.
        malformed: the tags of requests (in a container) or replies (in an engine) that cannot.
        ignored: how many records or messages meant nothing to this side.
        size: its size in bytes.
    """

    __slots__ = ("ignored", "malformed", "records", "size")

    def __init__(
        self, records: list[tuple[bytes, Record]], size: int = 0, malformed: list[bytes] | None = None, ignored: int = 0
    ) -> None:
        self.records = records
        self.malformed = [] if malformed is None else malformed
        self.ignored = ignored
        self.size = size


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_below(value: object, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def _is_seconds(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


def _is_announced(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and type(item) is int and item > 0 for key, item in value.items()
    )


_CALL, _WITHOUT_ARGS = Op.CALL, (Op.GETSTATE, Op.DESCRIBE)
"""Names of the module, since each look-up in a class takes as long as three of them (Python 3.11)."""


def _check_request(record: Record, decoder: Decoder) -> bool:
    _, sequence, remaining, flags, op, function, args, kwargs, metadata = record
    if not (
        type(sequence) is type(flags) is type(op) is int
        and (remaining is None or type(remaining) is int)
        and (function is None or type(function) is str)
        and type(args) is list
    ):
        return False
    for value in args:
        if type(value) in CONTAINERS:
            decoder.check(args)
            break
    if kwargs is not None:
        if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
            return False
        decoder.check(kwargs)
    if metadata is not None:
        if type(metadata) is not dict or not all(type(key) is str for key in metadata):
            return False
        decoder.check(metadata)
    if op == _CALL:
        return function is not None
    return len(args) == 1 or op in _WITHOUT_ARGS


def _check_response(record: Record, decoder: Decoder) -> bool:
    _, status, data = record
    if type(data) in CONTAINERS:
        decoder.check((data,))
    return type(status) is int and 0 <= status < 2


def _check_error(record: Record, decoder: Decoder) -> bool:
    _, code, executed, status, message, detail = record
    if not (type(code) is int and _is_below(executed, 3) and _is_below(status, 2) and type(message) is str):
        return False
    if detail is not None:
        if type(detail) is not dict:
            return False
        decoder.check(detail)
    return True


def _check_hello(record: Record, decoder: Decoder) -> bool:
    _, versions, session, number, name, interval, limits = record
    return (
        isinstance(versions, list)
        and all(map(_is_count, versions))
        and isinstance(session, UUID)
        and _is_count(number)
        and isinstance(name, str)
        and _is_seconds(interval)
        and _is_announced(limits)
    )


def _check_welcome(record: Record, decoder: Decoder) -> bool:
    _, version, instance, number, resumed, status, name, interval, window, limits = record
    return (
        type(version) is int
        and isinstance(instance, UUID)
        and _is_count(number)
        and isinstance(resumed, bool)
        and _is_below(status, 2)
        and isinstance(name, str)
        and _is_seconds(interval)
        and isinstance(window, list)
        and len(window) == 2
        and all(_is_count(size) and size > 0 for size in window)
        and _is_announced(limits)
    )


def _check_nothing(record: Record, decoder: Decoder) -> bool:
    return True


def _check_ping(record: Record, decoder: Decoder) -> bool:
    return _is_count(record[1])


def _check_pong(record: Record, decoder: Decoder) -> bool:
    _, number, messages, size = record
    return _is_count(number) and _is_count(messages) and _is_count(size)


def _check_goodbye(record: Record, decoder: Decoder) -> bool:
    _, code, text = record
    return type(code) is int and type(text) is str


def _check_ack(record: Record, decoder: Decoder) -> bool:
    _, messages, size = record
    return _is_count(messages) and _is_count(size)


def _check_received(record: Record, decoder: Decoder) -> bool:
    _, low_water, tags = record
    return _is_count(low_water) and type(tags) is bytes and len(tags) % 16 == 0 and len(tags) <= 16 * MOST_TAGS


# How many fields this version knows, and what it wants of them. Fields behind those are a later version's.
_SHAPES: dict[int, tuple[int, Callable[[Record, Decoder], bool]]] = {
    Kind.HELLO: (7, _check_hello),
    Kind.WELCOME: (10, _check_welcome),
    Kind.REQUEST: (9, _check_request),
    Kind.RESPONSE: (3, _check_response),
    Kind.ERROR: (6, _check_error),
    Kind.CANCEL: (1, _check_nothing),
    Kind.PING: (2, _check_ping),
    Kind.PONG: (4, _check_pong),
    Kind.MARK: (2, _check_ping),
    Kind.ECHO: (2, _check_ping),
    Kind.GOODBYE: (3, _check_goodbye),
    Kind.ACK: (3, _check_ack),
    Kind.STARTED: (1, _check_nothing),
    Kind.RECEIVED: (3, _check_received),
}


class MessageReader:
    """Reads messages within the limits; whatever the bytes are, it returns.

    Args:
        limits: this side's limits.
        answered: the kind whose malformed records somebody waits for: REQUEST in a container, whose engine gets an
            ERROR; RESPONSE in an engine, whose caller gets a ``ProtocolError``.
    """

    def __init__(self, limits: Limits, answered: int) -> None:
        self._decoder = Decoder(limits)
        self._most_tags = 16 * limits.batch_records
        self._most_bytes = limits.message_bytes
        self._answered = (answered, Kind.ERROR) if answered == Kind.RESPONSE else (answered,)
        self._usual = answered
        self._usual_length, self._check_usual = _SHAPES[answered]

    def read(self, frames: Sequence[Buffer]) -> Message:
        """Decodes one message whole, before anything of it is acted upon."""
        message = Message([], sum(map(len, frames)))
        if len(frames) < 2:
            message.ignored = 1
            return message
        tags = frames[0]
        if len(tags) > self._most_tags or type(tags) is not bytes:
            tags = bytes(tags[: self._most_tags + 1])
        count, odd = divmod(len(tags), 16)
        if count == 0:
            message.ignored = 1
            return message
        if (
            len(tags) > self._most_tags
            or (count > 1 and len(frames[1]) > BATCH_BYTES)
            or (len(frames) > 2 and message.size > self._most_bytes)
        ):
            # No peer of ours sends it: what decoding may take of time and memory is bounded for one batch, or one large
            # record, at a time; and libzmq holds each frame against the limit by itself.
            for index in range(count):
                self._malformed(message, tags[16 * index : 16 * index + 16])
            return message
        values, buffers_fit, complete = self._decoder.records(count, frames[1], frames[2:])
        whole = not odd and buffers_fit and (complete or len(values) < count)
        records = message.records
        decoder = self._decoder
        usual, length, check = self._usual, self._usual_length if whole else -1, self._check_usual
        for (tag,), value in zip(TAG.iter_unpack(tags[: 16 * count] if odd else tags), values, strict=False):
            # Nearly all records are of one kind: a table, and a call for each, would take 0.3 us more.
            if type(value) is list and len(value) == length and type(kind := value[0]) is int and kind == usual:
                try:
                    if check(value, decoder):
                        records.append((tag, value))
                        continue
                except HostileData:
                    pass
            self._record(message, tag, value, whole)
        if len(values) < count:
            for index in range(len(values), count):
                self._malformed(message, tags[16 * index : 16 * index + 16])
        return message

    def _record(self, message: Message, tag: bytes, value: Any, whole: bool) -> None:
        """One record of any kind, fit or not."""
        if type(value) is not list or not value or type(kind := value[0]) is not int:
            self._malformed(message, tag)
            return
        shape = _SHAPES.get(kind)
        if shape is None:
            message.ignored += 1
            return
        length, check = shape
        if len(value) > length:
            del value[length:]  # what a later version has added
        try:
            fits = whole and len(value) == length and check(value, self._decoder)
        except HostileData:
            fits = False
        if fits:
            message.records.append((tag, value))
        elif kind in self._answered:
            message.malformed.append(tag)
        else:
            message.ignored += 1

    def _malformed(self, message: Message, tag: bytes) -> None:
        """A record of which not even the kind can be read: if it has a tag, somebody may wait for it."""
        if tag == LINK_TAG:
            message.ignored += 1
        else:
            message.malformed.append(tag)
