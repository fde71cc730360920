"""Large messages that have come in parts, put together: each frame with one copy at most."""

from __future__ import annotations

import contextlib
import enum
import mmap
from typing import TYPE_CHECKING, Any

from .fragmenter import _SIZE, MAX_FRAMES, TAKEN_EVERY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..wire.values import Buffer

__all__ = ["FragmentResult", "Reassembler", "ReassemblyBudget"]

MIN_PART_BYTES, MIN_PART_FRAMES, EXTRA_PARTS = 64 * 1024, 64, 16
"""How small parts may be: one for each 64 KiB, one for each 64 frames, and 16 more. The rest is a flood."""


MAX_DROPPED = 16
"""Messages that were given up of which it is known that their parts may still come: each is answered once."""

JOINED_BYTES = 32 * 1024 * 1024
"""Frames up to this size are kept in pieces and joined when the last one is there. For a moment they are twice in
memory, but mostly in memory that the process has used before, which costs a tenth of fresh pages. Larger ones would be
fresh either way, since glibc maps what is larger by itself: they are written into a mapping of their own as they come.
"""


SMALL_PIECE = 4096
"""Pieces below this size are put together as they come: a flood of tiny ones costs no multiple of its bytes."""


class ReassemblyBudget:
    """What all assemblers of a side may put together at the same time, in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes

    def acquire(self, size: int) -> bool:
        """Takes room for a message. One alone may be larger than all room there is."""
        if self.bytes and self.bytes + size > self._max_bytes:
            return False
        self.bytes += size
        return True

    def release(self, size: int) -> None:
        """Gives it back."""
        self.bytes -= size


class FragmentResult(enum.Enum):
    """What became of a part."""

    TAKEN = "it is in its place"
    WHOLE = "it was the last one"
    MALFORMED = "it is not a part of what is put together"
    TOO_LARGE = "its message is larger than this side accepts"
    CROWDED = "there is no room for its message now"
    DROPPED = "its message was given up before"


class Reassembler:
    """Puts one large message after the other together, for one connection.

    Its memory is taken by the system as bytes come, whatever was announced.

    Args:
        max_bytes: the largest message, its tag included.

    Attributes:
        tag: of what is put together; empty: nothing.
        began_at: when its first part was read.
        came_at: when its last one was.
        received: bytes of it that have come.
        total: all its bytes.
        room: shared with others; None: there is no bound beyond the largest message.
    """

    def __init__(self, max_bytes: int) -> None:
        self.tag = b""
        self.began_at = self.came_at = 0.0
        self.received = self.total = 0
        self._max_bytes = max_bytes
        self.room: ReassemblyBudget | None = None
        self._sizes: list[int] = []
        self._mappings: dict[int, memoryview] = {}  # by the indexes of their frames
        self._frames: list[Buffer] = []  # those that are whole
        self._pieces: list[Buffer] = []  # of the next one
        self._filled = 0  # bytes of it that have come
        self._most_parts = 0
        self._dropped: dict[bytes, None] = {}  # the tags of what was given up last: their sender may not know yet
        self._read = self._told = 0

    def count(self, record: list[Any]) -> bool:
        """A PART was read, whatever becomes of it; True: its sender is to be told now."""
        self._read += sum(map(len, record[3]))
        return self._read - self._told >= TAKEN_EVERY

    def read(self) -> int:
        """How many bytes of parts were read since the connection began, for the sender to know."""
        self._told = self._read
        return self._read

    def begin(self, tag: bytes, sizes: bytes, now: float) -> FragmentResult:
        """The first part of a message has come.

        Returns:
            TAKEN; or TOO_LARGE, CROWDED or MALFORMED, and its parts are dropped.
        """
        self.drop()
        self._note_dropped(tag)
        count = len(sizes) // 8
        if count > MAX_FRAMES:
            return FragmentResult.MALFORMED
        sizes_ = [size for (size,) in _SIZE.iter_unpack(sizes)]
        total = sum(sizes_)
        if total + len(tag) > self._max_bytes:
            return FragmentResult.TOO_LARGE
        if total == 0:
            return FragmentResult.MALFORMED
        if self.room is not None and not self.room.acquire(total):
            return FragmentResult.CROWDED
        try:
            self._mappings = {index: _mapping(size) for index, size in enumerate(sizes_) if size > JOINED_BYTES}
        except (OSError, ValueError, OverflowError):
            if self.room is not None:
                self.room.release(total)
            return FragmentResult.CROWDED
        self._sizes = sizes_
        self.tag, self.total, self.received = tag, total, 0
        self.began_at = self.came_at = now
        self._most_parts = EXTRA_PARTS + total // MIN_PART_BYTES + count // MIN_PART_FRAMES
        self._dropped.pop(tag, None)
        return FragmentResult.TAKEN

    def on_fragment(self, tag: bytes, offset: int, pieces: Sequence[Buffer], now: float) -> FragmentResult:
        """A part has come."""
        if tag != self.tag or not tag:
            if tag in self._dropped:
                return FragmentResult.DROPPED
            self._note_dropped(tag)
            return FragmentResult.MALFORMED
        size = sum(map(len, pieces))
        self._most_parts -= 1
        if offset != self.received or offset + size > self.total or self._most_parts < 0:
            self.drop()
            return FragmentResult.MALFORMED
        sizes, frames = self._sizes, self._frames
        for piece in pieces:
            if not self._filled and len(piece) == sizes[len(frames)]:
                frames.append(piece)  # a frame that came in one piece is passed on as it is
            else:
                self._add(piece)
        self.received += size
        self.came_at = now
        if self.received < self.total:
            return FragmentResult.TAKEN
        frames += [b""] * (len(sizes) - len(frames))
        return FragmentResult.WHOLE

    def _add(self, piece: Buffer) -> None:
        """The next bytes have come: mostly of one frame, but they may go on in the next ones."""
        rest = memoryview(piece)
        while rest:
            index, start = len(self._frames), self._filled
            missing = self._sizes[index] - start
            part, rest = rest[:missing], rest[missing:]
            mapping, pieces = self._mappings.get(index), self._pieces
            if mapping is not None:
                mapping[start : start + len(part)] = part
            elif pieces and len(part) < SMALL_PIECE and len(pieces[-1]) < SMALL_PIECE:
                pieces[-1] = bytes(pieces[-1]) + part
            else:
                pieces.append(part)
            self._filled += len(part)
            if len(part) == missing:
                self._frames.append(b"".join(pieces) if mapping is None else self._mappings.pop(index).toreadonly())
                self._pieces, self._filled = [], 0

    def take_whole(self) -> list[Buffer]:
        """The message that is complete, as it would have come in one piece."""
        frames = [self.tag, *self._frames]
        self.drop()
        self._dropped.clear()
        return frames

    def drop(self) -> None:
        """Gives up what is put together; what still comes of it is not an error."""
        if self.tag:
            self._note_dropped(self.tag)
            if self.room is not None:
                self.room.release(self.total)
        self.tag = b""
        self._sizes, self._frames, self._pieces = [], [], []
        self._mappings = {}
        self.received = self.total = self._filled = 0

    def forget(self, tag: bytes) -> None:
        """Gives up a message, if it is what is put together."""
        if tag == self.tag:
            self.drop()

    def refuse(self, tag: bytes) -> None:
        """A message is not wanted, of which the first part has come."""
        self.drop()
        self._note_dropped(tag)

    def _note_dropped(self, tag: bytes) -> None:
        self._dropped[tag] = None
        if len(self._dropped) > MAX_DROPPED:
            del self._dropped[next(iter(self._dropped))]

    def restart(self) -> None:
        """A new connection: nothing has come on it."""
        self.drop()
        self._dropped.clear()
        self._read = self._told = 0


def _mapping(size: int) -> memoryview:
    """Memory that is taken page by page as it is written to, which a bytearray is not."""
    mapping = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    huge = getattr(mmap, "MADV_HUGEPAGE", None)
    if huge is not None:
        with contextlib.suppress(OSError):  # a system without huge pages
            mapping.madvise(huge)  # a page fault for each 2 MiB, not for each 4 KiB: a third of the time
    return memoryview(mapping)
