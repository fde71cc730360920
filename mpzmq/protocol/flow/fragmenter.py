"""Large messages cut into parts without a copy, so that others pass between them."""

from __future__ import annotations

import math
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

import msgpack

from ..wire.kinds import Kind
from ..wire.values import EXT_BUFFER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..wire.values import Buffer
    from .progress import ProgressTracker

__all__ = ["FRAGMENT_BYTES", "Fragmenter", "is_large"]

_MIB = 1024 * 1024

MARGIN = 64 * 1024
"""What a part takes beside its pieces, at most: the sizes of 4,096 frames, and references to 256 pieces."""


FRAGMENT_BYTES = 2 * _MIB + MARGIN
"""Messages beyond this size are cut, evenly, into as few parts as have no more: 2 MiB of data, and what stands around
them, are not, and what is hardly larger makes two halves.

Putting parts together costs as much as the rest of the way, so they should be few. But whoever receives a part has no
sign of life until its end: at 3.5 Mbit/s that is 5 s, the silence after which a host is taken for dead by default.
"""


UNREAD_BYTES = 4 * _MIB
"""Parts that may be on their way: what waits behind them waits for no more than that, and the rest of the last one."""


TAKEN_EVERY = _MIB
"""Bytes of parts after which the sender is told that they were read."""


MAX_FRAMES = 4096
"""Frames of a message that is cut; their sizes stand in its first part."""


MAX_PIECES = 256
"""Pieces of frames in one part."""


_SIZE = struct.Struct(">Q")


def is_large(size: int, buffers: Sequence[Buffer]) -> bool:
    """Whether a record with its buffers is cut."""
    return size > FRAGMENT_BYTES and len(buffers) < MAX_FRAMES


class Fragmenter:
    """Cuts one large message after the other, for one connection.

    Args:
        book: takes what the receiver has read of each; None: nobody asks.

    Attributes:
        item: what is under way, an ``QueuedRecord`` of an outbox; None: nothing.
    """

    def __init__(self, book: ProgressTracker | None = None) -> None:
        self.item: Any = None
        self._book = book
        self._frames: list[memoryview] = []
        self._sizes: bytes | None = None
        self._total = self._offset = 0
        self._frame = self._place = 0  # where the next part begins: in which frame, and where in it
        self._max_bytes, self._max_pieces = FRAGMENT_BYTES, MAX_PIECES
        self._part_bytes = FRAGMENT_BYTES  # of what is under way
        self._given = self._read = 0  # bytes of parts on this connection: sent, and known to be read
        self._unread: deque[tuple[bytes, int, int]] = deque()  # tag, what was given before it, its total

    def limit(self, message_bytes: int, items: int) -> None:
        """The other side has announced the largest message that it accepts, and the longest array."""
        self._max_bytes = max(1, min(FRAGMENT_BYTES, message_bytes - MARGIN))
        self._max_pieces = min(MAX_PIECES, items)

    @property
    def remaining(self) -> int:
        """Bytes of the message under way that have not left."""
        return self._total - self._offset if self.item is not None else 0

    @property
    def is_held_back(self) -> bool:
        """Whether a message is under way, and the receiver has to read before the next part may leave."""
        return self.item is not None and self._given - self._read >= UNREAD_BYTES

    def begin(self, item: Any) -> None:
        """An item is cut from now on."""
        self.item = item
        self._frames = [memoryview(frame) for frame in (item.body, *item.buffers)]
        sizes = [frame.nbytes for frame in self._frames]
        self._sizes = b"".join(map(_SIZE.pack, sizes))
        self._total = sum(sizes)
        count = max(1, math.ceil(self._total / self._max_bytes))
        self._part_bytes = math.ceil(self._total / count)
        self._offset = self._frame = self._place = 0
        self._unread.append((item.tag, self._given, self._total))
        if self._book is not None:
            self._book.on_acked(item.tag, 0, self._total)

    def next_fragment(self) -> tuple[list[Buffer], int]:
        """The next part, as frames, and how many bytes of the message it carries.

        It is the same until :meth:`on_sent`.
        """
        assert self.item is not None
        pieces: list[Buffer] = []
        room, frame, place = self._part_bytes, self._frame, self._place
        while room and frame < len(self._frames) and len(pieces) < self._max_pieces:
            piece = self._frames[frame][place : place + room]
            if piece.nbytes:
                pieces.append(piece)
            room -= piece.nbytes
            place += piece.nbytes
            if place == self._frames[frame].nbytes:
                frame, place = frame + 1, 0
        references = [
            msgpack.ExtType(EXT_BUFFER, msgpack.packb([index, "v", "B", [len(piece)]]))
            for index, piece in enumerate(pieces)
        ]
        record = [Kind.PART, self._offset, None if self._offset else self._sizes, references]
        return [self.item.tag, msgpack.packb(record), *pieces], self._part_bytes - room

    def on_sent(self, size: int) -> bool:
        """The part has left; True: it was the last one."""
        assert self.item is not None
        self._offset += size
        self._given += size
        while size:
            step = min(size, self._frames[self._frame].nbytes - self._place)
            size -= step
            self._place += step
            if self._place == self._frames[self._frame].nbytes:
                self._frame, self._place = self._frame + 1, 0
        if self._offset < self._total:
            return False
        self._forget()
        return True

    def on_taken(self, size: int) -> bool:
        """The receiver has read ``size`` bytes of parts since the connection began; True: more than was known."""
        size = min(size, self._given)
        if size <= self._read:
            return False
        self._read = size
        while self._unread:
            tag, before, total = self._unread[0]
            if self._book is not None and size > before:
                self._book.on_acked(tag, min(size - before, total), total)
            if size < before + total:
                break
            self._unread.popleft()
        return True

    def stop(self) -> bool:
        """The rest of the message under way is not sent; True: some of it was."""
        began = self._offset > 0
        self._unread.pop()
        self._forget()
        return began

    def restart(self) -> None:
        """A new connection: nothing has left on it."""
        self._given = self._read = 0
        self._unread.clear()
        self._forget()

    def _forget(self) -> None:
        self.item = self._sizes = None
        self._frames = []
        self._total = self._offset = 0
