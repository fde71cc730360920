"""Records that wait to leave for one peer, and the cutting of messages."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from .wire import BATCH_BYTES, LINK_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .values import Buffer

__all__ = ["Item", "Outbox", "Outgoing"]


class Item:
    """One record on its way out, with the tag it goes under and the buffers it refers to."""

    __slots__ = ("body", "buffers", "size", "tag")

    def __init__(self, tag: bytes, body: bytes, buffers: Sequence[Buffer] = ()) -> None:
        self.tag = tag
        self.body = body
        self.buffers = buffers
        self.size = len(body) + 16
        for buffer in buffers:
            self.size += len(buffer)

    def refresh(self, now: float) -> None:
        """Called just before the record leaves: what depends on the time is written anew."""


class Outgoing:
    """One message, cut and not yet sent."""

    __slots__ = ("frames", "items", "size")

    def __init__(self, frames: list[Buffer], items: Sequence[Item], size: int) -> None:
        self.frames = frames
        self.items = items
        self.size = size


class Outbox:
    """A queue of items with the control records that go before them.

    Messages are cut at ``batch_records`` records or 64 KiB; an item with buffers travels alone.
    """

    def __init__(self, batch_records: int) -> None:
        self.batch_records = batch_records
        self.batch_bytes = BATCH_BYTES
        self._items: OrderedDict[bytes, Item] = OrderedDict()
        self._control: list[tuple[bytes, bytes]] = []
        self.bytes = 0
        """The size of all items that wait."""

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return bool(self._items or self._control)

    def __contains__(self, tag: bytes) -> bool:
        return tag in self._items

    def accept(self, limits: Mapping[str, int], batch_records: int) -> None:
        """The other side has announced what it accepts; ``batch_records`` is this side's own limit."""
        self.batch_records = min(batch_records, limits.get("batch_records", 1))
        self.batch_bytes = min(BATCH_BYTES, limits.get("message_bytes", BATCH_BYTES))

    def put(self, item: Item) -> None:
        """Queues an item behind the others."""
        self._items[item.tag] = item
        self.bytes += item.size

    def put_control(self, body: bytes, tag: bytes = LINK_TAG) -> None:
        """Queues a control record: it leaves before all items, and does not count against the window."""
        self._control.append((tag, body))

    def remove(self, tag: bytes) -> Item | None:
        """Takes an item back that has not left."""
        item = self._items.pop(tag, None)
        if item is not None:
            self.bytes -= item.size
        return item

    def restore(self, items: Sequence[Item]) -> None:
        """Puts items back to the front: their message did not leave after all."""
        for item in reversed(items):
            self._items[item.tag] = item
            self._items.move_to_end(item.tag, last=False)
            self.bytes += item.size

    def clear_control(self) -> None:
        """Drops the control records: they belong to a connection that has ended."""
        self._control.clear()

    def clear(self) -> None:
        """Drops everything."""
        self._control.clear()
        self._items.clear()
        self.bytes = 0

    def cut(self, now: float, *, items: bool = True) -> Outgoing | None:
        """Takes the next message out; None when nothing waits.

        Args:
            now: the time, for what depends on it.
            items: False: control records only.
        """
        tags: list[bytes] = []
        bodies: list[bytes] = []
        size = 0
        if self._control:
            for tag, body in self._control[: self.batch_records]:
                tags.append(tag)
                bodies.append(body)
                size += len(body) + 16
            del self._control[: self.batch_records]
        taken: list[Item] = []
        queue = self._items
        while items and queue and len(tags) < self.batch_records:
            item = queue[next(iter(queue))]
            if tags and (item.buffers or size + item.size > self.batch_bytes):
                break
            queue.popitem(last=False)
            self.bytes -= item.size
            item.refresh(now)
            taken.append(item)
            tags.append(item.tag)
            bodies.append(item.body)
            size += item.size
            if item.buffers:
                return Outgoing([item.tag, item.body, *item.buffers], taken, size)
        if not tags:
            return None
        if len(tags) == 1:
            return Outgoing([tags[0], bodies[0]], taken, size)
        return Outgoing([b"".join(tags), b"".join(bodies)], taken, size)
