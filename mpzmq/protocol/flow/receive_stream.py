"""Items on their way in: the receiving half of a stream, in either direction."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ...models import Executed, StreamProgress
from ..wire.kinds import Kind
from ..wire.records import BATCH_BYTES
from .send_stream import CROWDED, ITEM_COST

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...errors import ConnectionLost
    from ..wire.records import Record

__all__ = ["OversizeItemLimit", "ReceiveBudget", "ReceiveStream"]


class ReceiveBudget:
    """The streams that one side reads of one other, and what they hold together.

    The other side sends no more while that is too much, but to whoever waits: a stream that is read goes on, whatever
    lies unread in others.

    Args:
        max_bytes: bytes that may be unread.

    Attributes:
        chunks_received: chunks that have come since this was last emptied.
        unread: bytes that have come and were not taken, as far as the other side knows.
    """

    def __init__(self, max_bytes: int) -> None:
        self.chunks_received = self.unread = 0
        self._max_bytes = max_bytes
        self._waiting: dict[bytes, ReceiveStream] = {}  # whose readers wait, and that is not told

    def begin(self, receive_stream: ReceiveStream) -> None:
        """Counts one more stream."""
        receive_stream.budget = self

    def end(self, tag: bytes, receive_stream: ReceiveStream) -> None:
        """A stream has ended: the other side does not count it any more."""
        self._waiting.pop(tag, None)
        self.unread -= receive_stream.unread
        receive_stream.budget = None

    def wait(self, tag: bytes, receive_stream: ReceiveStream) -> None:
        """The reader of a stream has taken everything, and waits."""
        if receive_stream.budget is not None:
            self._waiting[tag] = receive_stream

    def on_chunk(self, tag: bytes) -> None:
        """Something has come for a reader."""
        self._waiting.pop(tag, None)

    @property
    def is_crowded(self) -> bool:
        """Whether so much is unread that the other side should hear soon of what is taken."""
        return 2 * self.unread >= self._max_bytes

    @property
    def has_news(self) -> bool:
        """Whether readers wait for whom nothing may come unless the other side is told that they do.

        It stops where as much lies unread as may, and goes on where that has become an eighth less.
        """
        return bool(self._waiting) and 4 * self.unread >= 3 * self._max_bytes

    def wanted(self, is_known: Callable[[bytes], bool]) -> list[tuple[bytes, ReceiveStream]]:
        """The streams whose readers wait, each once.

        Args:
            is_known: whether the other side knows of the request.
        """
        wanted = [(tag, receive_stream) for tag, receive_stream in self._waiting.items() if is_known(tag)]
        for tag, _ in wanted:
            del self._waiting[tag]
        return wanted


class ReceiveStream:
    """The items of one stream that have come, and were not taken.

    Args:
        items: how many may come before any of them is taken.
        size: bytes that may, and one item or 64 KiB more.

    Attributes:
        items: those that the reader has taken over, the next one at the end.
        waker: whoever waits for items; the protocol only keeps it.
        failure: why nothing more will come; whoever reads is told when it has taken what is there.
        received: items that have come.
        unread: their bytes, without those that the reader has taken and the other side was told of.
        budget: the streams that are counted together; None: it is none of them.
    """

    __slots__ = (
        "_chunks",
        "_end_told",
        "_ended",
        "_granted",
        "_granted_bytes",
        "_handled",
        "_handled_told",
        "_received_bytes",
        "_taken",
        "_taken_bytes",
        "budget",
        "failure",
        "items",
        "received",
        "unread",
        "waker",
        "window",
        "window_bytes",
    )  # fmt: skip

    def __init__(self, items: int, size: int) -> None:
        self.items: list[Any] = []
        self.waker: Any = None
        self.failure: Exception | None = None
        self.received = self.unread = 0
        self.budget: ReceiveBudget | None = None
        self.window, self.window_bytes = items, size
        self._received_bytes = 0
        self._granted, self._granted_bytes = items, size
        self._taken = self._taken_bytes = 0
        self._chunks: deque[tuple[list[Any], int]] = deque()
        self._ended = self._end_told = self._handled_told = False
        self._handled = -1  # items that the reader is known to be done with; -1: it asks for more

    @property
    def has_ended(self) -> bool:
        """Whether everything has come."""
        return self._ended

    @property
    def is_over(self) -> bool:
        """Whether everything has come, and was taken."""
        return self._ended and not self._chunks

    def on_chunk(self, record: Record) -> bool:
        """A CHUNK has come.

        Returns:
            Whether the other side may send it: it stands behind what came before, and within the credit.
        """
        _, first, size, last, items = record
        if first < self.received or self._ended:
            return bool(first + len(items) <= self.received)  # sent again though it has come
        if (
            first > self.received
            or self.received + len(items) > self._granted
            or (items and self._received_bytes >= self._granted_bytes)
        ):
            return False
        self.received += len(items)
        self._received_bytes += size
        self._ended = last
        if items:
            self._chunks.append((items, size))
        self._count_unread()
        return True

    def pop_chunk(self) -> bool:
        """Puts the next of what has come into :attr:`items`; False: there is nothing."""
        if not self._chunks:
            return False
        self.items, size = self._chunks.popleft()
        self._taken += len(self.items)
        self._taken_bytes += size
        self.items.reverse()
        return True

    def abort(self, cls: type[ConnectionLost], why: str) -> ConnectionLost | None:
        """Nothing more will come, though the end has not.

        Args:
            cls: of the failure for whoever reads.
            why: in words.

        Returns:
            The failure; None: there was one before.
        """
        if self.failure is not None:
            return None
        self.failure = failure = cls(f"{why}; {self.received} items had come", executed=Executed.YES)
        failure.progress = StreamProgress(received=self.received)
        return failure

    def clear(self) -> None:
        """Nobody is to get what has come."""
        self._chunks.clear()
        self.items.clear()

    @property
    def needs_credit(self) -> bool:
        """Whether the other side could send much more than it knows, or may have to keep less before it sends more."""
        if self._ended:
            return False
        items = self._taken + self.window - self._granted
        size = self._taken_bytes + self.window_bytes - self._granted_bytes
        if 2 * items >= self.window or 2 * size >= self.window_bytes:
            return True
        if size >= BATCH_BYTES and self.budget is not None and self.budget.is_crowded:
            return True
        return not self._chunks and 2 * (size + items * ITEM_COST) >= CROWDED

    @property
    def exceeds_credit(self) -> bool:
        """Whether it holds an item, or has held one until the last CREDIT, that is far beyond its bytes."""
        return self._received_bytes > self._granted_bytes + BATCH_BYTES

    @property
    def end_unacknowledged(self) -> bool:
        """Whether the other side does not know that its end has come, and so that it need not keep anything."""
        return self._ended and not self._end_told

    def on_asked(self) -> None:
        """The reader asks for more, be it the end."""
        self._handled = -1

    def on_answered(self) -> None:
        """The reader, which gives items itself, gives one: it is done with all that it was given before."""
        self._handled = self._taken - len(self.items)

    @property
    def is_handled(self) -> bool:
        """Whether everything has come, and the reader is done with it, the end included if it has asked for that."""
        return self._ended and self._handled == self.received

    @property
    def is_handled_news(self) -> bool:
        """Whether the other side does not know of it."""
        return self.is_handled and not self._handled_told

    def credit_record(self, *, waits: bool = False) -> Record:
        """A CREDIT: what has come, and how much may come in all; ``waits``: and that the reader waits."""
        self._granted = self._taken + self.window
        self._granted_bytes = max(self._granted_bytes, self._taken_bytes + self.window_bytes + waits)
        self._end_told = self._ended
        self._handled_told = self.is_handled
        self._count_unread()
        return [Kind.CREDIT, self.received + self._ended + self._handled_told, self._granted, self._granted_bytes]

    def _count_unread(self) -> None:
        unread = max(0, self._received_bytes - self._granted_bytes + self.window_bytes)
        if self.budget is not None:
            self.budget.unread += unread - self.unread
        self.unread = unread


class OversizeItemLimit:
    """At most one stream of a connection holds an item far beyond its credit: many could be too much for the memory."""

    def __init__(self) -> None:
        self._holder: ReceiveStream | None = None

    def allows(self, receive_stream: ReceiveStream) -> bool:
        """Whether a stream may hold what has just come on it."""
        if not receive_stream.exceeds_credit:
            return True
        holder = self._holder
        if holder is not None and holder is not receive_stream and holder.exceeds_credit:
            return False
        self._holder = receive_stream
        return True

    def release(self, receive_stream: ReceiveStream | None) -> None:
        """A stream has ended: the other side does not count it any more."""
        if self._holder is receive_stream:
            self._holder = None
