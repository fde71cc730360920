"""The answering side: what runs handlers, as it sees who asks and whose handlers they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ...models import Status
from .. import wire
from ..flow.outbox import Outbox
from ..flow.receive_stream import ReceiveStream
from ..flow.stream_scheduler import StreamScheduler
from ..wire.kinds import Kind
from ..wire.records import LINK_TAG
from .reply_cache import ReplyCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from ...config import Limits
    from ...models import Executed
    from ...security.allow_list import User
    from ..effect_queue import EffectQueue
    from ..flow.outbox import QueuedRecord
    from ..requester.nested_calls import NestedCallDriver, NestedCalls
    from ..wire.encoder import Encoder
    from ..wire.records import Record
    from .reply_cache import ReplyBudget
    from .session_state import SessionState

__all__ = ["HandlerHost", "Responder"]

STREAM_SHARE = 64

MIN_STREAM_BYTES = 16 * 1024
"""The part of what is left of ``Limits.queued_bytes`` that one more stream of data gets, and the least of it."""


class HandlerHost:
    """Whose handlers they are: a container, or a worker.

    Args:
        encoder: writes its records.

    Attributes:
        status: its run state.
        draining: why it takes no new work; None while it does.
        encoder: writes its records.
        writable: for whom something waits to leave.
        load: how many requests are at work, and how many wait for their turn; whoever runs them sets it.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.status = Status.RUNNING
        self.draining: str | None = None
        self.encoder = encoder
        self.writable: dict[Any, None] = {}
        self.load: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def error_record(self, code: int, executed: Executed, text: str, detail: dict[str, object] | None = None) -> Record:
        """An ERROR record."""
        return wire.error(code, executed, self.status, text, detail)


class Responder(ABC):
    """One that asks, and is answered: the session of an engine, or the container of a link, which calls its engine.

    Args:
        host: whose handlers answer it.
        limits: the bounds of this side.
        effects: takes what is to be done.
        room: what all of them keep of their answers together.

    Attributes:
        name: what it calls itself, or is called.
        remote_id: the id under which a worker knows it; None: it is an engine.
        user: what it may do; None: everything.
        state: of its session.
        connected: whether it has a connection now.
        number: the number of its newest connection, which counts up.
        in_flight: how many of its requests run.
        bytes_in_flight: the size of those, without the large ones.
        large_in_flight: the size of the large ones.
        message_bytes: the largest message that both sides accept.
        replies: what it was answered and has not acknowledged.
        outbox: what waits to leave for it.
        send_streams: the streams of results that it gets.
        receive_streams: the streams of data that come from it.
        caller: the calls that handlers have made to it; None: none was made.
        calls: carries those out, the protocol only keeps it; None: there are none to it.
    """

    state: SessionState

    def __init__(self, host: HandlerHost, limits: Limits, effects: EffectQueue, room: ReplyBudget) -> None:
        self.name = ""
        self.remote_id: UUID | None = None
        self.user: User | None = None
        self.connected = False
        self.number = -1
        self.in_flight = self.bytes_in_flight = self.large_in_flight = 0
        self.message_bytes = limits.message_bytes
        self.replies = ReplyCache(limits, room)
        self.outbox = Outbox(limits.batch_records)
        self.send_streams = StreamScheduler(limits, effects, self.outbox, in_turn=False)
        self.receive_streams: dict[bytes, ReceiveStream] = {}
        self.caller: NestedCalls | None = None
        self.calls: NestedCallDriver | None = None
        self._stream_bytes = 0  # that its streams of data may hold
        self._host = host
        self._limits = limits
        self._effects = effects

    @abstractmethod
    def reply(self, item: QueuedRecord) -> int:
        """Answer a request. Returns how many bytes wait to leave now; 0: it is kept, or nobody waits."""

    @abstractmethod
    def parent_of(self, tag: bytes) -> UUID | None:
        """The request inside which another was made; None: it stands by itself."""

    @property
    def stream_room(self) -> int:
        """Bytes that one more stream of data may hold: a part of what all those of the engine have left."""
        left = self._limits.queued_bytes - self._stream_bytes
        return min(self._limits.stream_bytes, max(left // STREAM_SHARE, min(left, MIN_STREAM_BYTES)))

    def open_receive_stream(self, tag: bytes) -> None:
        """A stream of data is to come, under the tag of its request: its room is set aside."""
        receive_stream = self.receive_streams[tag] = ReceiveStream(self._limits.stream_items, self.stream_room)
        self._stream_bytes += receive_stream.window_bytes

    def close_receive_stream(self, tag: bytes) -> None:
        """The handler of a stream of data has ended."""
        self._stream_bytes -= self.receive_streams.pop(tag).window_bytes

    def control(self, record: Record, tag: bytes = LINK_TAG) -> bool:
        """Tell it something beside the answers. False: it replaces one of its kind and tag that waits."""
        self._host.writable[self] = None
        return self.outbox.put_control(self._host.encoder.pack(record), tag)

    def tell_started(self, tag: bytes) -> None:
        """Tell it that a request is at work: if the connection breaks, it knows that it has run."""
        self.control([Kind.STARTED], tag)

    def mark_ready(self, tag: bytes) -> None:
        """Items of a stream of results wait."""
        self._host.writable[self] = None
        self.send_streams.mark_ready(tag)
