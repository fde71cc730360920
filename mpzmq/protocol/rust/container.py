"""A container of the Rust crate, as a link sees it: it says WELCOME, answers PING, and replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...models import Executed, Status
from ..wire.encoder import Encoder
from ..wire.kinds import UNASKED, Code, Flag, Kind, Op
from ..wire.records import LINK_TAG, STATUSES, error, welcome
from .framing import FrameReader, framed
from .inbox import Inbox
from .params import METHODS, MalformedParams, read_params, write_params

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from ...config import Limits
    from ..wire.records import Record
    from ..wire.values import Buffer

__all__ = ["MAX_CHOSEN", "RustContainer"]

MAX_CHOSEN = 10_000
"""Ids that callers chose, and that were sent, of which it is remembered that they were."""

_UNREADABLE = b"\xc1"
"""A byte that MessagePack does not have: whoever waits for the reply is told that it cannot be read."""

_UNSUPPORTED = (
    "it speaks the wire of the Rust crate, which has request(), get_state() and set_state(), and nothing else"
)


class RustContainer:
    """Translates for one link, over all its connections.

    What a connection has taken is never sent over another one: no record of the crate says whether it has run.

    Args:
        name: what the container is called.
        limits: the engine's.
        interval: seconds between heartbeats, of which that wire has none: they show that the connection stands.

    Attributes:
        to_link: messages for the link.
        to_peer: bytes for the container.
        failure: why the connection is of no use any more, in words; empty: it is.
    """

    def __init__(self, name: str, limits: Limits, interval: float) -> None:
        self.to_link: list[list[bytes | memoryview]] = []
        self.to_peer: list[bytes] = []
        self.failure = ""
        self._name = name
        self._limits = limits
        self._interval = interval
        self._encoder = Encoder(limits)
        self._latest = self._before = 0  # the highest number of a request that has left, now and on earlier connections
        self._chosen: dict[bytes, None] = {}
        self._begin(None)

    def _begin(self, instance: UUID | None) -> None:
        self._instance = instance
        self._inbox = Inbox(self._limits, Kind.REQUEST)
        self._frames = FrameReader(self._limits.message_bytes)
        self._before = self._latest
        self._messages = self._bytes = 0
        self._told = 0, 0
        self.to_link, self.to_peer, self.failure = [], [], ""

    def on_connected(self, instance: UUID) -> None:
        """A connection stands. That wire does not tell processes apart, so it is another instance each time."""
        self._begin(instance)

    def take(self, frames: Sequence[Buffer]) -> None:
        """A message of the link."""
        message = self._inbox.read(frames)
        self._messages += 1
        self._bytes += message.size
        for tag in message.malformed:
            self._refuse(tag, Code.MALFORMED, Executed.NO, "it cannot be read")
        for tag, record in message.records:
            match record[0]:
                case Kind.HELLO:
                    self._messages = self._bytes = 0  # the window begins behind it
                    self._welcome(record[3])
                case Kind.REQUEST:
                    self._request(tag, record)
                case Kind.PING:
                    self._pong(record[1])
                case Kind.CANCEL:
                    self._inbox.forget(tag)  # that wire has no word for it: it runs on there
        if self._inbox.was_part:
            self._tell(LINK_TAG, [Kind.TAKEN, self._inbox.taken()])
        messages, size = self._messages - self._told[0], self._bytes - self._told[1]
        if messages >= self._limits.window / 4 or size >= self._limits.queued_bytes / 4:
            self._pong(UNASKED)

    def feed(self, data: bytes) -> None:
        """Bytes of the container."""
        self._frames.feed(data)
        while (body := self._frames.next_body()) is not None:
            try:
                reply = read_params(body)
            except MalformedParams as fault:
                self._unreadable(fault.tag)
                continue
            try:
                buffers: list[Buffer] = []
                data_ = self._encoder.prepare(reply.data, "data", buffers)
                packed = self._encoder.pack([Kind.RESPONSE, reply.status, data_])
            except TypeError:  # beyond the limits, 64 bits, or what Unicode has
                self._unreadable(reply.tag)
                continue
            self.to_link.append([reply.tag, packed, *buffers])
        if self._frames.failure:
            hint = "it does not speak the wire of the Rust crate, or Limits.message_bytes is too low"
            self.failure = f"{self._frames.failure}: {hint}"

    def _unreadable(self, tag: bytes) -> None:
        # Where nobody can be told, the link counts it: it knows no record of such a kind.
        self.to_link.append([tag, _UNREADABLE] if tag else [LINK_TAG, self._encoder.pack([255])])

    def _welcome(self, number: int) -> None:
        assert self._instance is not None
        self._tell(
            LINK_TAG,
            welcome(self._instance, number, False, Status.RUNNING, self._name, self._interval, self._limits),
        )

    def _pong(self, number: int) -> None:
        self._told = self._messages, self._bytes
        self._tell(LINK_TAG, [Kind.PONG, number, self._messages, self._bytes])

    def _request(self, tag: bytes, record: Record) -> None:
        _, sequence, remaining, flags, op, _, args, _, _ = record
        if op not in METHODS:
            self._refuse(tag, Code.UNSUPPORTED, Executed.NO, _UNSUPPORTED)
            return
        if remaining is not None and remaining <= 0:
            self._refuse(tag, Code.EXPIRED, Executed.NO, "it comes too late")
            return
        if sequence <= self._before or tag in self._chosen:
            text = "it was sent before, and this wire sends nothing twice: whether it has run, nobody can tell"
            self._refuse(tag, Code.STALE, Executed.UNKNOWN, text)
            return
        status, data = Status.RUNNING, None
        if op == Op.INVOKE:
            data = args[0]
        elif op == Op.SETSTATE:
            try:
                status = Status(args[0])
            except ValueError:
                self._refuse(tag, Code.INVALID_ARGUMENTS, Executed.NO, "it is no status")
                return
        try:
            body = write_params(tag, op, STATUSES.index(status), data)
        except TypeError as fault:
            self._refuse(tag, Code.INVALID_ARGUMENTS, Executed.NO, str(fault))
            return
        self._latest = max(self._latest, sequence)
        if flags & Flag.CHOSEN:
            self._chosen[tag] = None
            if len(self._chosen) > MAX_CHOSEN:
                del self._chosen[next(iter(self._chosen))]
        self.to_peer.append(framed(body))

    def _refuse(self, tag: bytes, code: int, executed: Executed, text: str) -> None:
        self._tell(tag, error(code, executed, Status.RUNNING, text))

    def _tell(self, tag: bytes, record: list[Any]) -> None:
        self.to_link.append([tag, self._encoder.pack(record)])
