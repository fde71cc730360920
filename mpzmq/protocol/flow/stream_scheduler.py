"""All streams that one side sends to one other: whose turn it is, and what leaves together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..effects import WakeStreams
from ..wire.records import BATCH_BYTES
from .fragmenter import is_large
from .outbox import Outbox, OutgoingMessage, QueuedRecord
from .send_stream import SendBudget

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ...config import Limits
    from ..effect_queue import EffectQueue
    from ..wire.values import Buffer
    from .send_stream import SendStream

__all__ = ["StreamScheduler"]


class _LargeChunk(QueuedRecord):
    """A CHUNK that leaves in parts, as large requests and replies do, and in turn with them."""

    __slots__ = ("_flows", "sent", "sequence")

    def __init__(self, tag: bytes, body: bytes, buffers: Sequence[Buffer], flows: StreamScheduler) -> None:
        super().__init__(tag, body, buffers)
        self.sent = False
        self.sequence = 0  # among requests that are put in order: in front
        self._flows = flows

    def on_all_sent(self) -> None:
        self._flows.whole(self.tag)


class StreamScheduler:
    """All streams that one side sends to one other, each by the tag of its request.

    Args:
        limits: this side's.
        effects: told of streams that may go on, or will not.
        outbox: takes chunks that are so large that they leave in parts.
        in_turn: whether only one at a time may send an item far beyond its credit: data, which strangers send. Results
            were asked for, and one who waits for those of one stream may never read on in another.

    Attributes:
        budget: what they share.
        credit_at_first: items and bytes of one stream that may leave before its first CREDIT.
    """

    def __init__(self, limits: Limits, effects: EffectQueue, outbox: Outbox, *, in_turn: bool) -> None:
        self._in_turn = in_turn
        self.budget = SendBudget(limits)
        self.credit_at_first = 0, 0
        self._batch_records = limits.batch_records
        self._max_early = limits.in_flight
        self._batch_bytes = BATCH_BYTES
        self._most_items = limits.items
        self._effects = effects
        self._outbox = outbox
        self._in_parts: set[bytes] = set()  # streams whose next chunk is in the outbox
        self._flows: dict[bytes, SendStream] = {}
        self._ready: dict[bytes, SendStream] = {}
        self._refused: OutgoingMessage | None = None
        self._overdrawn: SendStream | None = None
        self._held: dict[bytes, SendStream] = {}  # until it has been read what is far beyond the credit of another
        self._kept_back: dict[bytes, SendStream] = {}  # until less is unread of all streams
        self._early: dict[bytes, tuple[int, int, int]] = {}  # credit of streams that have not begun

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._flows)

    def __bool__(self) -> bool:
        """Whether anything can leave."""
        return bool(self._ready) or self._refused is not None or (bool(self._kept_back) and not self.budget.is_tight)

    def accept(self, limits: Mapping[str, int], batch_records: int) -> None:
        """The other side has announced what it accepts; ``batch_records`` is this side's own limit."""
        self._batch_records = min(batch_records, limits.get("batch_records", 1))
        self._batch_bytes = min(BATCH_BYTES, limits.get("message_bytes", BATCH_BYTES))
        self._most_items = limits.get("items", self._most_items)
        self.credit_at_first = limits.get("stream_items", 0), limits.get("stream_bytes", 0)
        self.budget.max_unread = limits.get("unread_bytes", math.inf)

    @property
    def kept_items(self) -> int:
        """How many items all streams keep."""
        return sum(flow.kept_items for flow in self._flows.values())

    def close_heavy(self) -> list[bytes]:
        """Closes the streams that keep as much as the average, or more; returns their tags."""
        heavy = [tag for tag, flow in self._flows.items() if flow.cost and flow.cost * len(self) >= self.budget.cost]
        for tag in heavy:
            self.close(tag)
        return heavy

    def open(self, tag: bytes, flow: SendStream) -> None:
        """Adds a stream."""
        self._flows[tag] = flow
        flow.budget = self.budget
        self.budget.cost += flow.cost
        if (early := self._early.pop(tag, None)) is not None:
            flow.on_credit(*early)

    def close(self, tag: bytes) -> None:
        """A stream has ended."""
        flow = self._flows.pop(tag, None)
        if flow is not None:
            flow.budget = None
            self.budget.cost -= flow.cost
            self._take_off(flow)
        self._ready.pop(tag, None)
        self._kept_back.pop(tag, None)
        self._held.pop(tag, None)
        self._drop_parts(tag)
        if flow is not None and flow is self._overdrawn:
            self._release()

    def whole(self, tag: bytes) -> None:
        """The last part of a large chunk has left: the stream goes on."""
        self._in_parts.discard(tag)
        self.mark_ready(tag)

    def _drop_parts(self, tag: bytes) -> None:
        if tag in self._in_parts:
            self._in_parts.discard(tag)
            self._outbox.drop_fragmented(tag)

    def _release(self) -> None:
        self._overdrawn = None
        self._ready.update(self._held)
        self._held.clear()

    def fail(self, tag: bytes, failure: Exception) -> None:
        """A stream, if there is one, takes nothing more."""
        flow = self._flows.get(tag)
        if flow is not None:
            flow.failure = failure
            self.close(tag)
            self._effects.add(WakeStreams, flow.waker)

    def mark_ready(self, tag: bytes) -> None:
        """Something may leave that could not before."""
        flow = self._flows.get(tag)
        if flow is None or flow.is_ready or tag in self._in_parts:
            return
        if flow.can_send:
            flow.is_ready = True
            self._ready[tag] = flow
            self._kept_back.pop(tag, None)
        elif flow.waiting and flow.is_held_back:
            self._kept_back[tag] = flow

    def on_credit(self, tag: bytes, received: int, items: int, size: int) -> bool:
        """The other side has given credit to a stream. False: it has ended."""
        flow = self._flows.get(tag)
        if flow is None:
            if not received and size > self.credit_at_first[1] and len(self._early) < self._max_early:
                self._early[tag] = received, items, size  # its reader waits, and is not to be forgotten
            return False
        was_tight = self.budget.is_tight
        flow.on_credit(received, items, size)
        if was_tight:
            self._loosen()
        if flow.exceeds_credit and self._in_turn:
            self._overdrawn = self._overdrawn or flow  # on the connection before this one
        elif flow is self._overdrawn:
            self._release()
        self.mark_ready(tag)
        self._effects.add(WakeStreams, flow.waker)
        return True

    def on_connection_lost(self) -> None:
        """The connection has ended, and what was under way on it is lost."""
        self._refused = self._overdrawn = None
        self._ready.clear()
        self._held.clear()
        self._kept_back.clear()
        self._early.clear()
        for tag in list(self._in_parts):
            self._drop_parts(tag)
        for flow in self._flows.values():
            flow.is_ready = False
            flow.on_connection_lost()

    @property
    def in_parts(self) -> int:
        """How many large chunks wait in the outbox."""
        return len(self._in_parts)

    def next_message(self, now: float, *, max_items: int | None = None) -> OutgoingMessage | None:
        """Takes the next message out: one chunk of each stream in turn. A chunk with buffers travels alone.

        Args:
            now: the time.
            max_items: items that may leave the outbox if a large chunk was put there; None: any.
        """
        if self._refused is not None:
            refused, self._refused = self._refused, None
            return refused
        ready = self._ready
        tags: list[bytes] = []
        bodies: list[bytes] = []
        size = 0
        while (ready or self._next_kept_back()) and len(tags) < self._batch_records:
            tag, flow = next(iter(ready.items()))
            if flow.waiting and flow.is_held_back:  # others have sent meanwhile what all may
                flow.is_ready = False
                self._kept_back[tag] = ready.pop(tag)
                continue
            had_room = flow.has_room
            overdraw = self._overdrawn is None or self._overdrawn is flow
            chunk = flow.next_chunk(self._batch_bytes - size, self._most_items, alone=not tags, overdraw=overdraw)
            if chunk is None:
                if tags:
                    break
                self._held[tag] = ready.pop(tag)
                continue
            if flow.exceeds_credit and self._in_turn:
                self._overdrawn = flow
            if not had_room and flow.has_room:
                self._effects.add(WakeStreams, flow.waker)
            del ready[tag]
            flow.is_ready = False
            record, buffers = chunk
            if buffers or len(record) > self._batch_bytes:
                item = _LargeChunk(tag, record, buffers, self)
                if is_large(item.size, buffers):
                    self._in_parts.add(tag)
                    self._outbox.put(item)
                    return self._outbox.next_message(now, max_items=max_items)
                self.mark_ready(tag)
                return OutgoingMessage(self, [tag, record, *buffers], (), (), item.size)
            self.mark_ready(tag)  # behind the others
            tags.append(tag)
            bodies.append(record)
            size += len(record) + 16
        if not tags:
            return None
        return OutgoingMessage(self, [b"".join(tags), b"".join(bodies)], (), (), size)

    def _take_off(self, flow: SendStream) -> None:
        was_tight = self.budget.is_tight
        self.budget.count_unread(-flow.unread)
        if was_tight:
            self._loosen()

    def _loosen(self) -> None:
        """Whoever was not to make more items, since too much lay unread, may."""
        if not self.budget.is_tight:
            for flow in self._flows.values():
                self._effects.add(WakeStreams, flow.waker)

    def _next_kept_back(self) -> bool:
        """Whether another stream may go on, since less is unread of all than may be."""
        while self._kept_back and not self.budget.is_tight:
            tag = next(iter(self._kept_back))
            del self._kept_back[tag]
            self.mark_ready(tag)
            if self._ready:
                return True
        return False

    def requeue(self, outgoing: OutgoingMessage) -> None:
        """The transport did not take a message: it goes first next time."""
        self._refused = outgoing
