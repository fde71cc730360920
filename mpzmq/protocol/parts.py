"""Large messages in parts, so that others pass between them: cut without a copy, put together with one."""

from __future__ import annotations

import enum
import mmap
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

import msgpack

from .kinds import Kind
from .values import EXT_BUFFER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .progress import ProgressBook
    from .values import Buffer

__all__ = ["PART_BYTES", "Assembler", "Cutter", "Outcome", "Room", "is_large"]

PART_BYTES = 1024 * 1024
"""Messages beyond this size are cut, into parts of it."""

UNREAD_BYTES = 4 * PART_BYTES
"""Parts that may be on their way: what waits behind them waits for no more than that."""

TAKEN_EVERY = PART_BYTES
"""Bytes of parts after which the sender is told that they were read."""

MOST_FRAMES = 4096
"""Frames of a message that is cut; their sizes stand in its first part."""

MOST_PIECES = 256
"""Pieces of frames in one part."""

MARGIN = 64 * 1024
"""What a part takes beside its pieces, at most: the sizes of 4,096 frames, and references to 256 pieces."""

FEWEST_BYTES, FEWEST_FRAMES, FEW = 64 * 1024, 64, 16
"""How small parts may be: one for so many bytes, one for so many frames, and a few more. The rest is a flood."""

SMALL_BODY = 64 * 1024
"""Up to this size the MessagePack of a message that was put together is copied out of it."""

_SIZE = struct.Struct(">Q")


def is_large(size: int, buffers: Sequence[Buffer]) -> bool:
    """Whether a record with its buffers is cut."""
    return size > PART_BYTES and len(buffers) < MOST_FRAMES


class Cutter:
    """Cuts one large message after the other, for one connection.

    Args:
        book: takes what the receiver has read of each; None: nobody asks.

    Attributes:
        item: what is under way, an ``Item`` of an outbox; None: nothing.
    """

    def __init__(self, book: ProgressBook | None = None) -> None:
        self.item: Any = None
        self._book = book
        self._frames: list[memoryview] = []
        self._sizes: bytes | None = None
        self._total = self._offset = 0
        self._frame = self._place = 0  # where the next part begins: in which frame, and where in it
        self._most, self._most_pieces = PART_BYTES, MOST_PIECES
        self._given = self._read = 0  # bytes of parts on this connection: sent, and known to be read
        self._unread: deque[tuple[bytes, int, int]] = deque()  # tag, what was given before it, its total

    def limit(self, message_bytes: int, items: int) -> None:
        """The other side has announced the largest message that it accepts, and the longest array."""
        self._most = max(1, min(PART_BYTES, message_bytes - MARGIN))
        self._most_pieces = min(MOST_PIECES, items)

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
        self._offset = self._frame = self._place = 0
        self._unread.append((item.tag, self._given, self._total))
        if self._book is not None:
            self._book.sent(item.tag, 0, self._total)

    def part(self) -> tuple[list[Buffer], int]:
        """The next part, as frames, and how many bytes of the message it carries.

        It is the same until :meth:`left`.
        """
        assert self.item is not None
        pieces: list[Buffer] = []
        room, frame, place = self._most, self._frame, self._place
        while room and frame < len(self._frames) and len(pieces) < self._most_pieces:
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
        return [self.item.tag, msgpack.packb(record), *pieces], self._most - room

    def left(self, size: int) -> bool:
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

    def taken(self, size: int) -> bool:
        """The receiver has read so many bytes of parts since the connection began; True: more than was known."""
        size = min(size, self._given)
        if size <= self._read:
            return False
        self._read = size
        while self._unread:
            tag, before, total = self._unread[0]
            if self._book is not None and size > before:
                self._book.sent(tag, min(size - before, total), total)
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


class Room:
    """What all assemblers of a side may put together at the same time, in bytes."""

    def __init__(self, most: int) -> None:
        self.bytes = 0
        self._most = most

    def take(self, size: int) -> bool:
        """Takes room for a message. One alone may be larger than all room there is."""
        if self.bytes and self.bytes + size > self._most:
            return False
        self.bytes += size
        return True

    def give(self, size: int) -> None:
        """Gives it back."""
        self.bytes -= size


class Outcome(enum.Enum):
    """What became of a part."""

    TAKEN = "it is in its place"
    WHOLE = "it was the last one"
    MALFORMED = "it is no part of what is put together"
    TOO_LARGE = "its message is larger than this side accepts"
    CROWDED = "there is no room for its message now"
    DROPPED = "its message was given up before"


class Assembler:
    """Puts one large message after the other together, for one connection.

    Memory for the whole is set aside at its first part, but taken by the system page by page, as bytes come.

    Args:
        most_bytes: the largest message, its tag included.

    Attributes:
        tag: of what is put together; empty: nothing.
        began_at: when its first part was read.
        came_at: when its last one was.
        received: bytes of it that have come.
        total: all its bytes.
        room: shared with others; None: there is no bound beyond the largest message.
    """

    def __init__(self, most_bytes: int) -> None:
        self.tag = b""
        self.began_at = self.came_at = 0.0
        self.received = self.total = 0
        self._most_bytes = most_bytes
        self.room: Room | None = None
        self._whole = memoryview(b"")
        self._sizes: list[int] = []
        self._most_parts = 0
        self._dropped = b""  # the tag of what was given up: its sender may not know yet
        self._read = self._told = 0

    def count(self, record: list[Any]) -> bool:
        """A PART was read, whatever becomes of it; True: its sender is to be told now."""
        self._read += sum(map(len, record[3]))
        return self._read - self._told >= TAKEN_EVERY

    def read(self) -> int:
        """How many bytes of parts were read since the connection began, for the sender to know."""
        self._told = self._read
        return self._read

    def begin(self, tag: bytes, sizes: bytes, now: float) -> Outcome:
        """The first part of a message has come.

        Returns:
            TAKEN; or TOO_LARGE, CROWDED or MALFORMED, and its parts are dropped.
        """
        self.drop()
        self._dropped = tag
        count = len(sizes) // 8
        if count > MOST_FRAMES:
            return Outcome.MALFORMED
        self._sizes = [size for (size,) in _SIZE.iter_unpack(sizes)]
        total = sum(self._sizes)
        if total + len(tag) > self._most_bytes:
            return Outcome.TOO_LARGE
        if total == 0:
            return Outcome.MALFORMED
        if self.room is not None and not self.room.take(total):
            return Outcome.CROWDED
        try:
            # Not a bytearray: it would be written to with zeros before a byte has come.
            whole = mmap.mmap(-1, total, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, ValueError, OverflowError):
            if self.room is not None:
                self.room.give(total)
            return Outcome.CROWDED
        self._whole = memoryview(whole)
        self.tag, self.total, self.received = tag, total, 0
        self.began_at = self.came_at = now
        self._most_parts = FEW + total // FEWEST_BYTES + count // FEWEST_FRAMES
        self._dropped = b""
        return Outcome.TAKEN

    def put(self, tag: bytes, offset: int, pieces: Sequence[Buffer], now: float) -> Outcome:
        """A part has come."""
        if tag != self.tag or not tag:
            return Outcome.DROPPED if tag == self._dropped else Outcome.MALFORMED
        size = sum(map(len, pieces))
        self._most_parts -= 1
        if offset != self.received or offset + size > self.total or self._most_parts < 0:
            self.drop()
            return Outcome.MALFORMED
        whole = self._whole
        for piece in pieces:
            end = offset + len(piece)
            whole[offset:end] = piece
            offset = end
        self.received = offset
        self.came_at = now
        return Outcome.WHOLE if offset == self.total else Outcome.TAKEN

    def take_whole(self) -> list[Buffer]:
        """The message that is complete, as it would have come in one piece."""
        tag, whole = self.tag, self._whole.toreadonly()
        frames: list[Buffer] = [tag]
        start = 0
        for size in self._sizes:
            frames.append(whole[start : start + size])
            start += size
        if self._sizes[0] <= SMALL_BODY:
            frames[1] = bytes(frames[1])
        self.drop()
        self._dropped = b""
        return frames

    def drop(self) -> None:
        """Gives up what is put together; what still comes of it is no error."""
        if self.tag:
            self._dropped = self.tag
            if self.room is not None:
                self.room.give(self.total)
        self.tag = b""
        self._whole = memoryview(b"")
        self._sizes = []
        self.received = self.total = 0

    def forget(self, tag: bytes) -> None:
        """Gives up a message, if it is what is put together."""
        if tag == self.tag:
            self.drop()

    def refuse(self, tag: bytes) -> None:
        """A message is not wanted, of which the first part has come."""
        self.drop()
        self._dropped = tag

    def restart(self) -> None:
        """A new connection: nothing has come on it."""
        self.drop()
        self._dropped = b""
        self._read = self._told = 0
