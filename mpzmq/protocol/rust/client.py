"""A client of the Rust crate, as a container's sessions see it: an engine that says HELLO, and sends nothing twice."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any, Final

from ...errors import RequestError
from ...models import Executed, Status
from ..requester.error_factory import ERROR_CLASSES
from ..wire.encoder import Encoder
from ..wire.kinds import Goodbye, Kind, Op
from ..wire.records import EXECUTED, LINK_TAG, STATUS_NUMBER, STATUSES, hello
from .framing import FrameReader, FrameTooLarge, framed
from .inbox import Inbox
from .params import MalformedParams, check_json, read_params, write_params

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from ...config import Limits
    from ..wire.records import Record
    from ..wire.values import Buffer

__all__ = ["RustClient"]

ACKNOWLEDGED_EVERY = 32
"""Answers after which the container is told that it need not keep them."""

_TAG: Final = struct.Struct(">8xQ")
_RUNNING: Final = STATUS_NUMBER[Status.RUNNING]


class RustClient:
    """Translates for one connection.

    An error travels as the data of a reply, ``{"error": {"type": ..., "message": ..., "executed": ...}}``: that wire
    has no other word for it, and a client of the crate waits without an end.

    Args:
        session: the id of its session.
        name: what it is called.
        interval: seconds between heartbeats, of which that wire has none.
        limits: the container's.

    Attributes:
        to_sessions: messages for the container's sessions.
        to_peer: bytes for the client.
        to_pong: numbers of PINGs, to be answered when what was said before has left.
        failure: why the connection is to end, in words; empty: it goes on.
    """

    def __init__(self, session: UUID, name: str, interval: float, limits: Limits) -> None:
        self.to_sessions: list[list[bytes | memoryview]] = []
        self.to_peer: list[bytes] = []
        self.to_pong: list[int] = []
        self.failure = ""
        self._encoder = Encoder(limits)
        self._inbox = Inbox(limits, Kind.RESPONSE)
        self._frames = FrameReader(limits.message_bytes)
        self._asked: dict[bytes, tuple[bytes, int]] = {}  # by the tags given here: ids may come twice
        self._sequence = 0
        self._answers = 0
        self._tell(LINK_TAG, hello(session, 1, name, interval, limits))

    @property
    def is_partial(self) -> bool:
        """Whether a frame has begun, and not ended."""
        return self._frames.is_partial

    def feed(self, data: bytes) -> None:
        """Bytes of the client."""
        try:
            bodies = self._frames.feed(data)
        except FrameTooLarge as fault:
            self.failure = str(fault)
            return
        for body in bodies:
            try:
                asked = read_params(body)
            except MalformedParams as fault:
                if not fault.tag:
                    self.failure = f"a frame holds {fault}"  # whoever waits for its answer sees the end, at least
                    return
                self._turn_away(fault.tag, Op.INVOKE, f"the request has {fault}")
                continue
            self._request(asked.tag, asked.op, asked.status, asked.data)

    def _request(self, own_id: bytes, op: int, status: int, data: Any) -> None:
        self._sequence += 1
        args: list[Any] = []
        buffers: list[Buffer] = []
        try:
            if op == Op.INVOKE:
                args = [self._encoder.prepare(data, "data", buffers)]
            elif op == Op.SETSTATE:
                args = [str(STATUSES[status])]
            record = [Kind.REQUEST, self._sequence, None, 0, op, None, args, None, None]
            packed = self._encoder.pack(record)
        except TypeError as fault:  # beyond the limits, 64 bits, or what Unicode has
            self._turn_away(own_id, op, f"the request is not accepted: {fault}")
            return
        tag = _TAG.pack(self._sequence)
        self._asked[tag] = own_id, op
        self.to_sessions.append([tag, packed, *buffers])

    def take(self, frames: Sequence[Buffer]) -> None:
        """A message of the sessions."""
        message = self._inbox.read(frames)
        for tag in message.malformed:
            self._reply(tag, _RUNNING, _error("ProtocolError", "the reply cannot be read", Executed.UNKNOWN))
        for tag, record in message.records:
            match record[0]:
                case Kind.RESPONSE:
                    self._reply(tag, record[1], record[2])
                case Kind.ERROR:
                    self._fail(tag, record)
                case Kind.PING:
                    self.to_pong.append(record[1])
                case Kind.GOODBYE if record[1] != Goodbye.DRAINING:
                    self.failure = record[2] or "the container has said GOODBYE"
        if self._inbox.was_part:
            self._tell(LINK_TAG, [Kind.TAKEN, self._inbox.taken()])

    def pong(self) -> None:
        """What was written before a PING has left."""
        for number in self.to_pong:
            self._tell(LINK_TAG, [Kind.PONG, number, 0, 0])
        self.to_pong.clear()

    def _fail(self, tag: bytes, record: Record) -> None:
        _, code, executed, status, text, detail = record
        kind = ERROR_CLASSES.get(code, RequestError).__name__
        facts: dict[str, Any] = {}
        for fact, name in (("type", "error_type"), ("code", "code"), ("data", "data")):
            value = None if detail is None else detail.get(fact)
            if value is not None:
                with contextlib.suppress(TypeError):  # JSON has no place for it
                    check_json(value, fact)
                    facts[name] = value
        self._reply(tag, status, _error(kind, text, EXECUTED[executed], facts))

    def _reply(self, tag: bytes, status: int, data: Any) -> None:
        asked = self._asked.pop(tag, None)
        if asked is None:
            return
        self._answer(*asked, status, data)
        self._answers += 1
        if self._answers % ACKNOWLEDGED_EVERY == 0:
            # Nothing is sent again: no answer below the next number has to be kept.
            self._tell(LINK_TAG, [Kind.RECEIVED, self._sequence + 1, b""])

    def _turn_away(self, own_id: bytes, op: int, why: str) -> None:
        self._answer(own_id, op, _RUNNING, _error("ProtocolError", why, Executed.NO))

    def _answer(self, own_id: bytes, op: int, status: int, data: Any) -> None:
        try:
            body = write_params(own_id, op, status, data)
        except (TypeError, ValueError) as fault:
            facts = {"error_type": "EncodeError"}
            body = write_params(own_id, op, status, _error("RemoteError", str(fault), Executed.YES, facts))
        self.to_peer.append(framed(body))

    def _tell(self, tag: bytes, record: list[Any]) -> None:
        self.to_sessions.append([tag, self._encoder.pack(record)])


def _error(kind: str, message: str, executed: Executed, facts: dict[str, Any] | None = None) -> dict[str, Any]:
    """What is told in place of data."""
    return {"error": {"type": kind, "message": message, "executed": str(executed), **(facts or {})}}
