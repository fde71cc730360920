"""A client of the Rust crate, as a container's sessions see it: an engine that says HELLO, and sends nothing twice."""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ...errors import RequestError
from ...models import Executed, Status
from ..flow.window import SendWindow
from ..requester.error_factory import ERROR_CLASSES
from ..wire.encoder import Encoder
from ..wire.kinds import Goodbye, Kind, Op
from ..wire.records import EXECUTED, LINK_TAG, STATUS_NUMBER, STATUSES, hello
from .framing import FrameReader, framed
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

    Nor has that wire a window. So this keeps the one of an engine: beyond it, frames stay where they are, and the
    connection is to be read no further while it :attr:`is_held_back`.

    Args:
        session: the id of its session.
        name: what it is called.
        interval: seconds between heartbeats, of which that wire has none.
        limits: the container's.

    Attributes:
        to_sessions: messages for the container's sessions.
        to_peer: bytes for the client.
        written: bytes that were put there since the connection began.
        failure: why the connection is to end, in words; empty: it goes on.
    """

    def __init__(self, session: UUID, name: str, interval: float, limits: Limits) -> None:
        self.to_sessions: list[list[bytes | memoryview]] = []
        self.to_peer: list[bytes] = []
        self.written = 0
        self.failure = ""
        self._encoder = Encoder(limits)
        self._inbox = Inbox(limits, Kind.RESPONSE)
        self._frames = FrameReader(limits.message_bytes)
        self._window = SendWindow()
        self._max_asked = limits.in_flight
        self._pings: deque[tuple[int, int]] = deque()  # each with the bytes that were written before it
        self._asked: dict[bytes, tuple[bytes, int]] = {}  # by the tags given here: ids may come twice
        self._sequence = 0
        self._answers = 0
        self._tell(LINK_TAG, hello(session, 1, name, interval, limits))
        self._window.open(limits.window, limits.queued_bytes)

    @property
    def has_asked(self) -> bool:
        """Whether a request has come: before that, nobody needs to hear of the client, which may be none."""
        return self._sequence > 0

    @property
    def is_held_back(self) -> bool:
        """Whether no more can be asked now."""
        # Behind a PING that is not answered, an engine has not read how far its window is open.
        return bool(self._pings) or len(self._asked) >= self._max_asked or not self._window.has_room()

    def feed(self, data: bytes) -> None:
        """Bytes of the client."""
        self._frames.feed(data)
        self._advance()

    def _advance(self) -> None:
        """Asks what can be asked."""
        while not (self.failure or self.is_held_back):
            body = self._frames.next_body()
            if body is None:
                self.failure = self._frames.failure
                return
            try:
                asked = read_params(body)
            except MalformedParams as fault:
                if fault.tag:
                    self._turn_away(fault.tag, Op.INVOKE, f"the request has {fault}")
                else:
                    self.failure = f"a frame holds {fault}"  # whoever waits for its answer sees the end, at least
            else:
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
        self._say([tag, packed, *buffers])

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
                    self._pings.append((record[1], self.written))
                case Kind.PONG:
                    self._window.on_read(*record[2:4])
                case Kind.GOODBYE if record[1] != Goodbye.DRAINING:
                    self.failure = record[2] or "the container has said GOODBYE"
        if self._inbox.was_part:
            self._tell(LINK_TAG, [Kind.TAKEN, self._inbox.taken()])
        self._advance()

    @property
    def has_pings(self) -> bool:
        """Whether :meth:`on_left` is waited for."""
        return bool(self._pings)

    def on_left(self, size: int) -> None:
        """So many bytes of those that were written have left: PINGs are answered that came behind no others."""
        while self._pings and self._pings[0][1] <= size:
            self._tell(LINK_TAG, [Kind.PONG, self._pings.popleft()[0], 0, 0])
        self._advance()

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
        frame = framed(body)
        self.to_peer.append(frame)
        self.written += len(frame)

    def _tell(self, tag: bytes, record: list[Any]) -> None:
        self._say([tag, self._encoder.pack(record)])

    def _say(self, frames: list[bytes | memoryview]) -> None:
        self.to_sessions.append(frames)
        self._window.on_sent(sum(map(len, frames)))


def _error(kind: str, message: str, executed: Executed, facts: dict[str, Any] | None = None) -> dict[str, Any]:
    """What is told in place of data."""
    return {"error": {"type": kind, "message": message, "executed": str(executed), **(facts or {})}}
