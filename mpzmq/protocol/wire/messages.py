"""Messages: records and their buffers as frames, decoded.

One message is a list of frames: ``[tags, records, buffer, ...]``. The tags are n x 16 bytes, the records n
MessagePack arrays back to back, ``[kind, ...]``, in the order of their tags. docs/protocol.md is the
specification, with vectors that a test checks against this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .decoder import Decoder
from .kinds import Kind
from .prescan import MalformedData
from .records import BATCH_BYTES, LINK_TAG, TAG, Record
from .schema import NESTED_CALL_SCHEMA, OPTIONAL, SCHEMAS, greeting_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...config import Limits
    from .values import Buffer

__all__ = ["Message", "MessageDecoder"]

_REQUESTS: Final = frozenset({Kind.REQUEST})
_REPLIES: Final = frozenset({Kind.RESPONSE, Kind.ERROR})


SLACK = 1024
"""Bytes by which a message may be larger than the CHUNKs in it say, for each of its records."""


UNREADABLE = "it cannot be read as a message of this protocol"
"""What is wrong with a greeting that is none."""


class Message:
    """One decoded message.

    Attributes:
        records: what can be acted upon, each with its tag.
        malformed: the tags of requests (in a container) or replies (in an engine) that cannot.
        malformed_calls: the tags of replies (in a container) or requests (in an engine) that cannot: of calls.
        ignored: how many records or messages meant nothing to this side.
        fault: what is wrong with a greeting (HELLO in a container, WELCOME in an engine), or with what came in its
            place, in words; empty: nothing.
        size: its size in bytes.
    """

    __slots__ = ("_has_declared_size", "fault", "ignored", "malformed", "malformed_calls", "records", "size")

    def __init__(
        self, records: list[tuple[bytes, Record]], size: int = 0, malformed: list[bytes] | None = None, ignored: int = 0
    ) -> None:
        self.records = records
        self.malformed = [] if malformed is None else malformed
        self.malformed_calls: list[bytes] = []
        self.ignored = ignored
        self.fault = ""
        self.size = size
        self._has_declared_size: bool | None = None

    @property
    def has_declared_size(self) -> bool:
        """Whether it is no larger than the CHUNKs in it say, which travel with one another only."""
        if self._has_declared_size is None:
            told = sum(record[2] for _, record in self.records if record[0] == Kind.CHUNK)
            self._has_declared_size = self.size <= told + SLACK * len(self.records)
        return self._has_declared_size


class MessageDecoder:
    """Reads messages within the limits; whatever the bytes are, it returns.

    Args:
        limits: this side's limits.
        answered: the kind whose malformed records somebody waits for: REQUEST in a container, whose engine gets an
            ERROR; RESPONSE in an engine, whose caller gets a ``ProtocolError``. With calls it is the other way round.
    """

    def __init__(self, limits: Limits, answered: int) -> None:
        self._decoder = Decoder(limits)
        self._most_tags = 16 * limits.batch_records
        self._max_bytes = limits.message_bytes
        is_engine = answered == Kind.RESPONSE
        self._answered = (_REPLIES if is_engine else _REQUESTS) | {Kind.PART}
        self._misread_kinds = _REQUESTS if is_engine else _REPLIES
        self._shapes = {**SCHEMAS, Kind.REQUEST: NESTED_CALL_SCHEMA} if is_engine else SCHEMAS
        self._greeting = Kind.WELCOME if is_engine else Kind.HELLO
        self._usual = answered
        self._usual_length, self._check_usual = SCHEMAS[answered]

    def decode(self, frames: Sequence[Buffer]) -> Message:
        """Decodes one message whole, before anything of it is acted upon."""
        message = Message([], sum(map(len, frames)))
        if len(frames) < 2:
            self._unreadable(message)
            return message
        tags = frames[0]
        if len(tags) > self._most_tags or type(tags) is not bytes:
            tags = bytes(tags[: self._most_tags + 1])
        count, odd = divmod(len(tags), 16)
        if count == 0:
            self._unreadable(message)
            return message
        if (
            len(tags) > self._most_tags
            or (count > 1 and len(frames[1]) > BATCH_BYTES)
            or (len(frames) > 2 and message.size > self._max_bytes)
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
                except MalformedData:
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
        shape = self._shapes.get(kind)
        if shape is None:
            message.ignored += 1
            return
        length, check = shape
        if len(value) > length:
            del value[length:]  # what a later version has added
        try:
            fits = whole and length - OPTIONAL.get(kind, 0) <= len(value) and check(value, self._decoder)
        except MalformedData:
            fits = False
        if fits:
            message.records.append((tag, value))
        elif kind in self._answered:
            message.malformed.append(tag)
        elif kind in self._misread_kinds and tag != LINK_TAG:
            message.malformed_calls.append(tag)
        elif kind == self._greeting:
            message.ignored += 1
            message.fault = greeting_fault(value) or "its message is malformed"
        else:
            message.ignored += 1

    def _malformed(self, message: Message, tag: bytes) -> None:
        """A record of which not even the kind can be read: if it has a tag, somebody may wait for it."""
        if tag == LINK_TAG:
            self._unreadable(message)
        else:
            message.malformed.append(tag)

    def _unreadable(self, message: Message) -> None:
        """Something for the link, of which nothing is known: where a greeting is due, it came in place of that."""
        message.ignored += 1
        if not message.records:  # and not behind one that was read
            message.fault = message.fault or UNREADABLE
