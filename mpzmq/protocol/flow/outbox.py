"""Records that wait to leave for one peer, and the cutting of messages."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Final

import msgpack

from ..wire.kinds import Kind
from ..wire.records import BATCH_BYTES, LINK_TAG
from .fragmenter import FRAGMENT_BYTES, MAX_PIECES, Fragmenter, is_large

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..wire.values import Buffer
    from .progress import ProgressTracker

    _Control = tuple[bytes, int]

__all__ = ["CORKED_BYTES", "Outbox", "OutgoingMessage", "QueuedRecord"]

CORKED_BYTES: Final = 16 * 1024
"""What waits for the end of a pass of the event loop leaves before it from this size on, so that the other side works
on it meanwhile (64 B, 1,000 in flight: +28 % requests/s, with ``async def`` handlers +40 %; half or twice of it: less).
"""

CORKED_RECORDS: Final = 16
"""Fewer wait on, until they fill a message (4 KiB, 64 in flight: +46 % requests/s, with a fourth of the messages)."""

_CANCEL: Final = msgpack.packb([Kind.CANCEL])


class QueuedRecord:
    """One record on its way out, with the tag it goes under and the buffers it refers to.

    Attributes:
        stale_at: when what depends on the time has to be written anew before the record leaves.
    """

    __slots__ = ("body", "buffers", "size", "stale_at", "tag")

    def __init__(self, tag: bytes, body: bytes, buffers: Sequence[Buffer] = ()) -> None:
        self.tag = tag
        self.body = body
        self.buffers = buffers
        self.stale_at = math.inf
        self.size = len(body) + 16
        if buffers:
            self.size += sum(map(len, buffers))

    @property
    def order_key(self) -> Any:
        """Among whom it keeps its order, where large records let others pass; None: nobody."""
        return None

    def refresh(self, now: float) -> None:
        """Called just before a stale record leaves."""

    def on_all_sent(self) -> None:
        """Called when the last part of a large record has left."""


class OutgoingMessage:
    """One message, cut and not yet sent: control records, then items; or a part of a large item.

    Attributes:
        origin: what cut it, and takes it back if the transport does not take it: an outbox, or a stream scheduler.
        part: how many bytes of the item the part carries; 0: it is none. The item itself is in ``items`` with its last.
    """

    __slots__ = ("control", "frames", "items", "origin", "part", "size")

    def __init__(
        self,
        origin: Any,
        frames: list[Buffer],
        control: Sequence[tuple[_Control, bytes]],
        items: Sequence[QueuedRecord],
        size: int,
        part: int = 0,
    ) -> None:
        self.origin = origin
        self.frames = frames
        self.control = control
        self.items = items
        self.size = size
        self.part = part


class Outbox:
    """A queue of items with the control records that go before them.

    Messages are cut at ``batch_records`` records or 64 KiB; an item with buffers travels alone, and a large one in
    parts, one large one after the other. Others pass between its parts, unless they have to keep their order behind it.
    It stays in the queue until its last part has left.

    Args:
        batch_records: records in one message, at most.
        book: takes how far large items have come; None: nobody asks.

    Attributes:
        parts: cuts large items.
        bytes: the size of all items that wait, without the large ones.
        large_bytes: that of the large ones, without the one under way.
    """

    def __init__(self, batch_records: int, book: ProgressTracker | None = None) -> None:
        self.batch_records = batch_records
        self.batch_bytes = BATCH_BYTES
        self._items: dict[bytes, QueuedRecord] = {}
        self._control: dict[_Control, bytes] = {}
        self.bytes = self.large_bytes = 0
        self.parts = Fragmenter(book)
        self._large: dict[bytes, QueuedRecord] = {}
        # Of those that have come since none waited: whether any has buffers, and a time before which none is stale.
        self._has_buffers = False
        self._stale_from = math.inf
        self._is_stuck = False  # whether all that waits keeps its order behind a large one
        self._part_first = False  # whether a part is next, since something else was the last time

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return bool(self._items or self._control)

    @property
    def waiting(self) -> int:
        """Bytes of all items that wait, and of those of the one under way that has not left."""
        return self.bytes + self.large_bytes + self.parts.remaining

    @property
    def corked(self) -> int:
        """Bytes that wait, as far as they count against ``CORKED_BYTES``; all or none do."""
        waiting, count = self.bytes, len(self._items)
        # A message is full where one more of their size on average would not fit.
        return waiting if count >= CORKED_RECORDS or waiting * (count + 1) >= self.batch_bytes * count else 0

    def __contains__(self, tag: bytes) -> bool:
        return tag in self._items

    def accept(self, limits: Mapping[str, int], batch_records: int) -> None:
        """The other side has announced what it accepts; ``batch_records`` is this side's own limit."""
        self.batch_records = min(batch_records, limits.get("batch_records", 1))
        message_bytes = limits.get("message_bytes", BATCH_BYTES)
        self.batch_bytes = min(BATCH_BYTES, message_bytes)
        self.parts.limit(message_bytes, limits.get("items", MAX_PIECES))

    def put(self, item: QueuedRecord) -> None:
        """Queues an item behind the others; one of the same tag that waits is replaced."""
        tag = item.tag
        if tag in self._items:
            self.remove(tag)
        self._items[tag] = item
        if item.buffers:
            self._has_buffers = True
        if item.stale_at < self._stale_from:
            self._stale_from = item.stale_at
        size = item.size
        if size > FRAGMENT_BYTES and is_large(size, item.buffers):
            self._large[tag] = item
            self.large_bytes += size
        else:
            self.bytes += size
        self._is_stuck = False

    def put_control(self, body: bytes, tag: bytes = LINK_TAG) -> bool:
        """Queues a control record: it leaves before all items, and does not count against the window.

        It takes the place of one of the same kind and tag that waits, so that a peer which asks and does not read
        costs no memory. False: it did.
        """
        key = (tag, body[1])  # the first byte says that it is an array, the second is its kind
        replaced = self._control.pop(key, None)
        self._control[key] = body
        return replaced is None

    @property
    def has_controls(self) -> bool:
        """Whether any control record waits."""
        return bool(self._control)

    def has_control(self, kind: int) -> bool:
        """Whether a control record of the link of a kind waits."""
        return (LINK_TAG, kind) in self._control

    def count_leading(self, which: Callable[[Any], bool]) -> int:
        """How many items of a kind stand in front of all others, up to what one message holds."""
        front = itertools.islice(self._items.values(), self.batch_records)
        return sum(1 for _ in itertools.takewhile(which, front))

    def remove(self, tag: bytes) -> QueuedRecord | None:
        """Takes an item back that has not left. If parts of it have, the other side is told that no more come."""
        item = self._items.get(tag)
        if item is not None:
            if tag in self._large:
                if item is self.parts.item:
                    self.stop_parts()
                self.drop_fragmented(tag)
            else:
                del self._items[tag]
                self.bytes -= item.size
        return item

    def stop_parts(self) -> None:
        """No more parts of what is under way are sent: it waits again, and has to leave from its beginning."""
        item = self.parts.item
        if item is not None:
            self.large_bytes += item.size
            if self.parts.stop():
                self.put_control(_CANCEL, item.tag)

    def drop_fragmented(self, tag: bytes) -> None:
        """The other side does not want a large item, or the rest of it, any more."""
        item = self._large.pop(tag, None)
        if item is None:
            return
        if item is self.parts.item:
            self.parts.stop()
        else:
            self.large_bytes -= item.size
        del self._items[tag]
        self._is_stuck = False

    def requeue(self, outgoing: OutgoingMessage) -> None:
        """The transport did not take a message: what was in it waits again, in front of everything."""
        if not outgoing.part:
            self.restore(outgoing.items)
            self._control = {**dict(outgoing.control), **self._control}

    def on_sent(self, outgoing: OutgoingMessage) -> None:
        """The transport has taken a message."""
        if outgoing.part and self.parts.on_sent(outgoing.part):
            (item,) = outgoing.items
            del self._items[item.tag], self._large[item.tag]
            self._is_stuck = False
            item.on_all_sent()

    def sort(self, order: Callable[[Any], Any]) -> None:
        """Puts the items in order."""
        self._items = dict(sorted(self._items.items(), key=lambda entry: order(entry[1])))
        self._is_stuck = False

    def restore(self, items: Sequence[QueuedRecord]) -> None:
        """Puts items to the front."""
        behind, self._items = self._items, {}
        for item in items:
            self.put(item)
        self._items.update(behind)

    def clear_control(self) -> None:
        """Drops the control records: they belong to a connection that has ended. So do the parts that have left."""
        self._control.clear()
        if self.parts.item is not None:
            self.large_bytes += self.parts.item.size
        self.parts.restart()

    def clear(self) -> None:
        """Drops everything."""
        self._control.clear()
        self._forget_items()
        self._large.clear()
        self.parts.restart()
        self.large_bytes = 0

    def next_message(self, now: float, *, max_items: int | None = None) -> OutgoingMessage | None:
        """Takes the next message out; None when nothing waits.

        Args:
            now: the time, for what depends on it.
            max_items: items that may leave; None: as many as a message holds.
        """
        waiting = self._items
        if self._large:
            if self._part_first and not self._control and max_items != 0 and (part := self._part(now)) is not None:
                return part
        elif len(waiting) == 1 and not self._control and max_items != 0:
            # A lone request or reply (a quarter of the time of what follows).
            (item,) = waiting.values()
            if item.stale_at <= now:
                item.refresh(now)
            self._forget_items()
            return OutgoingMessage(self, [item.tag, item.body, *item.buffers], (), (item,), item.size)
        control: list[tuple[_Control, bytes]] = []
        tags: list[bytes] = []
        bodies: list[bytes] = []
        size = 0
        if self._control:
            control = list(itertools.islice(self._control.items(), self.batch_records))
            for key, body in control:
                del self._control[key]
                tags.append(key[0])
                bodies.append(body)
                size += len(body) + 16
        taken: list[QueuedRecord] = []
        room = self.batch_records - len(tags)
        if max_items is not None and max_items < room:
            room = max_items
        if room and self._items:
            if self._large:
                taken, taken_size = self._take_around(now, room, max_items, not tags, size)
            else:
                taken, taken_size = self._take(now, room, not tags, size)
            if taken and taken[-1].buffers:
                item = taken[0]
                return OutgoingMessage(self, [item.tag, item.body, *item.buffers], control, taken, taken_size)
            tags += [item.tag for item in taken]
            bodies += [item.body for item in taken]
            size += taken_size
        if not tags:
            return self._part(now) if self._large and max_items != 0 else None
        if len(tags) == 1:
            return OutgoingMessage(self, [tags[0], bodies[0]], control, taken, size)
        return OutgoingMessage(self, [b"".join(tags), b"".join(bodies)], control, taken, size)

    def _take(self, now: float, room: int, first: bool, size: int) -> tuple[list[QueuedRecord], int]:
        """Takes out items for a message that has ``room`` for so many records, and ``size`` bytes already.

        Returns:
            The items, and their size.
        """
        items = self._items
        taken_size = self.bytes
        if (
            len(items) <= room
            and size + taken_size <= self.batch_bytes
            and not self._has_buffers
            and now < self._stale_from
        ):
            # Mostly all are small and fresh, and fit: then none needs a look of its own (0.3 us an item).
            taken = list(items.values())
        else:
            taken, taken_size = self._look(now, list(itertools.islice(items.values(), room)), first, size)
        if len(taken) == len(items):
            self._forget_items()
        else:
            for item in taken:
                del items[item.tag]
            self.bytes -= taken_size
        return taken, taken_size

    def _forget_items(self) -> None:
        """None waits any more."""
        self._items.clear()
        self.bytes = 0
        self._has_buffers = False
        self._stale_from = math.inf

    def _take_around(
        self, now: float, room: int, max_items: int | None, first: bool, size: int
    ) -> tuple[list[QueuedRecord], int]:
        """The same where large items wait or are under way: others pass, but for those that have to stay behind."""
        taken: list[QueuedRecord] = []
        if self._is_stuck:
            return taken, 0
        behind: set[Any] = set()
        for item in itertools.islice(self._items.values(), max_items):
            key = item.order_key
            if item.tag in self._large:
                behind.add(key)
            elif key is None or key not in behind:
                taken.append(item)
                if len(taken) == room:
                    break
        self._is_stuck = not taken and max_items is None
        taken, taken_size = self._look(now, taken, first, size)
        for item in taken:
            del self._items[item.tag]
        self.bytes -= taken_size
        self._part_first = bool(taken)
        return taken, taken_size

    def _part(self, now: float) -> OutgoingMessage | None:
        """The next part of what is under way, or else of the large item that stands in front of all."""
        self._part_first = False
        parts = self.parts
        if parts.item is None:
            item = next(iter(self._items.values()))
            if item.tag not in self._large:
                return None
            if item.stale_at <= now:
                item.refresh(now)
            self.large_bytes -= item.size
            parts.begin(item)
        if parts.is_held_back:
            return None
        frames, size = parts.next_fragment()
        assert parts.item is not None
        last = (parts.item,) if size == parts.remaining else ()
        return OutgoingMessage(self, frames, (), last, sum(map(len, frames)), size)

    def _look(self, now: float, items: list[QueuedRecord], first: bool, size: int) -> tuple[list[QueuedRecord], int]:
        """Which items leave, one by one; ``first``: nothing is in the message yet."""
        taken: list[QueuedRecord] = []
        taken_size = 0
        for item in items:
            alone = first and not taken
            if not alone and (item.buffers or size + taken_size + item.size > self.batch_bytes):
                break
            if item.stale_at <= now:
                item.refresh(now)
            taken.append(item)
            taken_size += item.size
            if item.buffers:
                break
        return taken, taken_size
