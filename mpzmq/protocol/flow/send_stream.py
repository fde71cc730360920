"""Items on their way out: the sending half of a stream, in either direction.

What was sent is kept until the other side has said that it has it, so that a stream of results goes on behind a broken
connection where it stopped. Nothing is sent beyond the credit that the other side has given, in items and bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgpack

from ..wire.kinds import Kind
from ..wire.records import BATCH_BYTES

if TYPE_CHECKING:
    from ...config import Limits
    from ..wire.values import Buffer

__all__ = ["SendBudget", "SendStream"]

MAX_WAITING = 1024
MAX_WAITING_BYTES = 4 * BATCH_BYTES
"""Items, and their bytes, that may wait to leave, if the limits allow for so many: whoever makes them is then to wait,
too."""

ITEM_COST, CROWDED = 64, 16 * 1024
"""Bytes that an item takes beside its own; and how much of a stream may be kept where all those to one side keep more
than they should together. Whoever reads all that has come tells so after half of it: no stream ever stands still."""

OVERHEAD = 64
"""Bytes of a message beside the items of its only chunk, at most: tag, numbers and headers."""

_Piece = tuple[bytes, Sequence["Buffer"], int]
"""One item: its MessagePack, the buffers it refers to, the size of both."""

_FRONT = bytes((0x95, Kind.CHUNK))
_ENDS = {True: b"\xc3", False: b"\xc2"}


class SendBudget:
    """What all streams to one side keep together, and what each of them may.

    Attributes:
        cost: bytes that all of them keep.
        max_cost: how many they should, at most.
        max_waiting, max_waiting_bytes: items, and their bytes, of one stream that may wait to leave.
        unread: bytes that were sent, and that the readers have not taken as far as they have told.
        max_unread: how many that should be, at most, by what the other side has announced.
        is_tight: whether there were so many, and have not become an eighth fewer since.
    """

    __slots__ = (
        "_counted",
        "cost",
        "is_tight",
        "max_cost",
        "max_unread",
        "max_waiting",
        "max_waiting_bytes",
        "unread"
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self.cost = self.unread = self._counted = 0
        self.max_unread = math.inf
        self.is_tight = False
        self.max_cost = limits.queued_bytes
        self.max_waiting = min(MAX_WAITING, limits.stream_items)
        self.max_waiting_bytes = min(MAX_WAITING_BYTES, limits.stream_bytes)

    @property
    def has_grown(self) -> bool:
        """Whether they keep much more than when that was counted last."""
        return self.cost - self._counted >= MAX_WAITING_BYTES

    def count(self) -> None:
        """What they keep is counted now."""
        self._counted = self.cost

    def count_unread(self, more: int) -> None:
        """So many bytes more, or fewer, are unread."""
        self.unread += more
        if self.unread >= self.max_unread:
            self.is_tight = True
        elif 8 * self.unread <= 7 * self.max_unread:
            self.is_tight = False


class SendStream:
    """The items of one stream that the other side may not have.

    The end has a place of its own behind the last item, so that its arrival can be told, too.

    Args:
        items: how many may leave before the first CREDIT.
        size: bytes that may.

    Attributes:
        received: items that the other side has said it has.
        sent: items that have left.
        waker: whoever waits for room or for the end; the protocol only keeps it.
        failure: why nothing more will be taken; whoever waits is told.
        is_ready: whether it stands among those that send.
        cost: bytes that are kept, with what each item takes beside its own.
        unread: bytes that were sent, and that the reader has not taken as far as it has told.
        budget: what the streams to the same side share, as long as it is one of them.
    """

    __slots__ = (
        "_credit",
        "_credit_bytes",
        "_end_received",
        "_end_sent",
        "_finished",
        "_handled",
        "_kept",
        "_paused",
        "_received_bytes",
        "_sent_bytes",
        "_waiting_bytes",
        "_window",
        "budget",
        "cost",
        "failure",
        "is_ready",
        "received",
        "sent",
        "unread",
        "waker",
    )  # fmt: skip

    def __init__(self, items: int = 0, size: int = 0) -> None:
        self.received = self.sent = 0
        self.waker: Any = None
        self.failure: Exception | None = None
        self.is_ready = False
        self.cost = self.unread = 0
        self.budget: SendBudget | None = None
        self._credit, self._credit_bytes = items, size
        self._window = size
        self._sent_bytes = self._received_bytes = 0
        self._kept: list[_Piece] = []  # the first one is item number `received`
        self._waiting_bytes = 0
        self._finished = self._end_sent = self._end_received = self._handled = self._paused = False

    @property
    def has_room(self) -> bool:
        """Whether more may be put in now."""
        budget = self.budget
        if budget is None:
            return False
        if (self.cost >= CROWDED and budget.cost >= budget.max_cost) or self.is_held_back:
            return False
        return self.waiting < budget.max_waiting and self._waiting_bytes < budget.max_waiting_bytes

    @property
    def has_credit(self) -> bool:
        """Whether the other side has ever given any."""
        return self._credit > 0

    @property
    def waiting(self) -> int:
        """Items that have not left."""
        return self.received + len(self._kept) - self.sent

    @property
    def kept_items(self) -> int:
        """Items that are kept."""
        return len(self._kept)

    @property
    def is_received(self) -> bool:
        """Whether the other side has everything, and knows that nothing follows."""
        return self._end_received

    @property
    def is_handled(self) -> bool:
        """Whether the other side has told that it is done with everything."""
        return self._handled

    @property
    def is_finished(self) -> bool:
        """Whether nothing can follow."""
        return self._finished

    @property
    def count(self) -> int:
        """Items that were put in."""
        return self.received + len(self._kept)

    @property
    def can_send(self) -> bool:
        """Whether a chunk may leave now."""
        if self._paused:
            return False
        if self.waiting:
            return self.sent < self._credit and self._sent_bytes < self._credit_bytes and not self.is_held_back
        # Before it has given any credit, the other side has not taken the request: nothing is for it yet.
        return self._finished and not self._end_sent and self._credit > 0

    @property
    def is_held_back(self) -> bool:
        """Whether the readers of all streams have so much to take that only one who waits gets more.

        Such a one has taken everything, and says so by credit for one byte more than usual.
        """
        budget = self.budget
        if budget is None or not budget.is_tight:
            return False
        return self._credit_bytes - self._window <= self._sent_bytes

    def write(self, body: bytes, buffers: Sequence[Buffer], size: int) -> bool:
        """One item more.

        Args:
            body: its MessagePack.
            buffers: those it refers to.
            size: of both, in bytes.

        Returns:
            Whether there is room for another.
        """
        kept = self._kept
        kept.append((body, buffers, size))
        self._waiting_bytes += size
        cost = size + ITEM_COST
        self.cost += cost
        # As `has_room`, which would be two calls more for every item.
        budget = self.budget
        if budget is None:
            return False
        budget.cost += cost
        waiting = self.received + len(kept) - self.sent
        return (
            waiting < budget.max_waiting
            and self._waiting_bytes < budget.max_waiting_bytes
            and (self.cost < CROWDED or budget.cost < budget.max_cost)
            and not (budget.is_tight and self.is_held_back)
        )

    def finish(self) -> None:
        """Nothing follows."""
        self._finished = True

    def on_credit(self, received: int, items: int, size: int) -> None:
        """What the other side has told: places that it has, and how many items and bytes it takes in all."""
        if self._end_sent and received > self.sent:
            self._end_received = True
            self._handled = self._handled or received > self.sent + 1
        received = min(max(received, self.received), self.sent)
        gone = received - self.received
        if gone:
            gone_bytes = sum(size for _, _, size in self._kept[:gone])
            del self._kept[:gone]
            self.received = received
            self._received_bytes += gone_bytes
            self._weigh(-gone_bytes - gone * ITEM_COST)
        self._credit = max(self._credit, items)
        self._credit_bytes = max(self._credit_bytes, size)
        if self._paused:
            # A new connection: what the other side has not got was lost with the last one.
            self._paused = False
            self.sent = received
            self._sent_bytes = self._received_bytes
            self._end_sent = self._end_received
            self._waiting_bytes = sum(size for _, _, size in self._kept)
        self._count_unread()

    def on_connection_lost(self) -> None:
        """The connection has ended: on the next one the other side first tells what it has."""
        self._paused = True

    @property
    def exceeds_credit(self) -> bool:
        """Whether an item has left that is far beyond the bytes of the credit, and that may not have been read."""
        return self._sent_bytes > self._credit_bytes + BATCH_BYTES

    def next_chunk(
        self, room: int, max_items: int, *, alone: bool, overdraw: bool
    ) -> tuple[bytes, Sequence[Buffer]] | None:
        """Takes the next chunk out, when :attr:`can_send`.

        Args:
            room: bytes that the message has left.
            max_items: items in one chunk.
            alone: whether nothing else is in it.
            overdraw: whether its last item may be far beyond the credit.

        Returns:
            The CHUNK record and its buffers; None: it does not fit into what is left.
        """
        start = self.sent - self.received
        max_items = min(max_items, self.waiting, self._credit - self.sent)
        room -= OVERHEAD
        allowed = self._credit_bytes - self._sent_bytes
        bodies: list[bytes] = []
        buffers: Sequence[Buffer] = ()
        size = 0
        for body, buffers, item_size in itertools.islice(self._kept, start, start + max_items):
            first = alone and not bodies
            if (
                size >= allowed
                or (not first and (buffers or size + item_size > room))
                or (not overdraw and size + item_size > allowed + BATCH_BYTES)
            ):
                buffers = ()
                break
            bodies.append(body)
            size += item_size
            if buffers:
                break  # its references count from the first buffer of the message
        count = len(bodies)
        is_last = self._finished and count == self.waiting
        if not count and not is_last:
            return None
        numbers = msgpack.packb(self.sent) + msgpack.packb(size)
        record = b"".join((_FRONT, numbers, _ENDS[is_last], msgpack.Packer().pack_array_header(count), *bodies))
        self.sent += count
        self._sent_bytes += size
        self._waiting_bytes -= size
        self._end_sent = is_last
        self._count_unread()
        return record, buffers

    def _count_unread(self) -> None:
        unread = max(0, self._sent_bytes - self._credit_bytes + self._window)
        if self.budget is not None and unread != self.unread:
            self.budget.count_unread(unread - self.unread)
        self.unread = unread

    def _weigh(self, cost: int) -> None:
        self.cost += cost
        if self.budget is not None:
            self.budget.cost += cost
