"""What a container has answered, kept until the engine has it: what comes again is answered, and does not run again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .outbox import Item
from .wire import MOST_TAGS, TAG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import Limits
    from .values import Buffer

__all__ = ["Reply", "ReplyCache", "Room"]

SESSIONS_WORTH = 8
"""How many times what one session may keep all sessions of a container may keep together."""

UNTOLD = MOST_TAGS
"""Replies that an engine may have received without having told yet."""

_SLACK = 8
"""A cache that is full gives up this part of what it keeps at once, and not one reply for each that is new."""


class Reply(Item):
    """An answer, with what has to be known if its request comes again.

    Attributes:
        sequence: of its request.
        digest: what was asked, if the caller chose the id and may issue it again; else None.
        is_kept: False: only that it was given is remembered, not what it was.
        kept_at: since when.
    """

    __slots__ = ("digest", "is_kept", "kept_at", "sequence")

    # Positional, and no call of Item.__init__: as for requests, 0.3 us less each.
    def __init__(self, tag: bytes, body: bytes, buffers: Sequence[Buffer], sequence: int, digest: bytes | None) -> None:
        self.tag = tag
        self.body = body
        self.buffers = buffers
        self.stale_at = math.inf
        self.size = len(body) + 16
        if buffers:
            self.size += sum(map(len, buffers))
        self.sequence = sequence
        self.digest = digest
        self.is_kept = True
        self.kept_at = 0.0


class Room:
    """What all sessions of one container keep together."""

    __slots__ = ("bytes", "most_bytes")

    def __init__(self, limits: Limits) -> None:
        self.bytes = 0
        self.most_bytes = SESSIONS_WORTH * limits.reply_bytes


class ReplyCache:
    """The replies of one session that its engine may not have.

    An entry leaves when the engine acknowledges it, or after ``reply_ttl``. When there is no room, the oldest ones
    lose what they said, but not that it was said: nothing is run twice for want of memory.

    Attributes:
        entries: the answers, by tag, in the order in which they were given.
        most_entries: how many of them can be remembered; an engine that acknowledges has fewer.
        now: the time, as far as it matters here: set every now and then.
        stale_below: a request with a lower sequence number that is not known is not run: it had its answer, and
            that is forgotten.
    """

    def __init__(self, limits: Limits, room: Room) -> None:
        self.now = 0.0
        self.stale_below = 0
        self.entries: dict[bytes, Reply] = {}
        self._kept = 0
        self._bytes = 0
        self._low_water = 0
        self._most_kept = limits.reply_entries
        self._most_bytes = limits.reply_bytes
        self.most_entries = limits.in_flight + limits.reply_entries + UNTOLD
        self._room = room

    def __len__(self) -> int:
        return len(self.entries)

    def forget(self, tag: bytes) -> None:
        """One answer less."""
        reply = self.entries.pop(tag)
        if reply.is_kept:
            self._let_go(reply)

    def keep(self, reply: Reply) -> None:
        """An answer more. There is none under its tag: its request would not have run."""
        reply.kept_at = self.now
        self.entries[reply.tag] = reply
        size = reply.size
        if size > self._most_bytes:
            self._bury(reply.tag)
            return
        if reply.buffers:
            # What the handler may still write to is not what it answered.
            reply.buffers = [_unchanging(buffer) for buffer in reply.buffers]
        self._kept += 1
        self._bytes += size
        room = self._room
        room.bytes += size
        if self._kept > self._most_kept or self._bytes > self._most_bytes or room.bytes > room.most_bytes:
            self._make_room()

    def acknowledge(self, low_water: int, tags: bytes) -> None:
        """The engine has told what it needs no more.

        Args:
            low_water: the lowest sequence number that it may send again.
            tags: of replies that it has received, back to back.
        """
        if low_water > self._low_water:
            self._low_water = low_water
            self.stale_below = max(self.stale_below, low_water)
        entries = self.entries
        size = count = 0
        for (tag,) in TAG.iter_unpack(tags):
            reply = entries.pop(tag, None)
            if reply is not None and reply.is_kept:
                size += reply.size
                count += 1
        self._kept -= count
        self._bytes -= size
        self._room.bytes -= size

    def expire(self, before: float) -> None:
        """Forgets what was answered before a time. If the engine asks again all the same, it is told so."""
        expired = []
        for reply in self.entries.values():
            if reply.kept_at >= before:
                break
            expired.append(reply)
        for reply in expired:
            self.stale_below = max(self.stale_below, reply.sequence + 1)
            self.forget(reply.tag)

    def bury(self) -> None:
        """Keeps of all answers only that they were given."""
        for reply in [reply for reply in self.entries.values() if reply.is_kept]:
            self._let_go(reply)
            self._bury(reply.tag)

    def clear(self) -> int:
        """Forgets everything; returns how many answers nobody has acknowledged."""
        count = sum(reply.sequence >= self._low_water for reply in self.entries.values())
        self._room.bytes -= self._bytes
        self.entries.clear()
        self._kept = self._bytes = 0
        return count

    def _let_go(self, reply: Reply) -> None:
        self._kept -= 1
        self._bytes -= reply.size
        self._room.bytes -= reply.size

    def _bury(self, tag: bytes) -> None:
        """Of an answer only stays that it was given. The answer itself may still be on its way out."""
        reply = self.entries[tag]
        stone = Reply(tag, b"", (), reply.sequence, reply.digest)
        stone.kept_at = reply.kept_at
        stone.is_kept = False
        self.entries[tag] = stone

    def _make_room(self) -> None:
        # Below the low-water mark only callers who chose their ids may come again.
        low_water = self._low_water
        for reply in [r for r in self.entries.values() if r.sequence < low_water and r.digest is None]:
            self.forget(reply.tag)
        room = self._room
        if self._kept <= self._most_kept and self._bytes <= self._most_bytes and room.bytes <= room.most_bytes:
            return
        most_kept = self._most_kept - self._most_kept // _SLACK
        most_bytes = self._most_bytes - self._most_bytes // _SLACK
        for reply in [r for r in self.entries.values() if r.is_kept]:
            if self._kept <= most_kept and self._bytes <= most_bytes and room.bytes <= room.most_bytes:
                break
            self._let_go(reply)
            self._bury(reply.tag)


def _unchanging(buffer: Buffer) -> Buffer:
    return bytes(buffer) if isinstance(buffer, memoryview) and not buffer.readonly else buffer
