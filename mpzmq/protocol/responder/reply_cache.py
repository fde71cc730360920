"""What a container has answered, kept until the engine has it: what comes again is answered, and does not run again."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from ..flow.outbox import QueuedRecord
from ..requester.reply_acks import REPLY_COST, max_kept
from ..requester.request_ids import MAX_IDS
from ..wire.records import TAG
from ..wire.schema import MAX_TAGS
from ..wire.values import unchanging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...config import Limits
    from ..wire.values import Buffer

__all__ = ["NOT_KEPT_TEXT", "SESSIONS_FACTOR", "Reply", "ReplyBudget", "ReplyCache"]

NOT_KEPT_TEXT = "it has run, but its reply is not kept: too large, or no room (Limits.reply_bytes, reply_entries)"
"""What is said of a request whose reply cannot be given."""

SESSIONS_FACTOR = 8
"""How many times what one session may take all sessions of a container may take together: of replies that are kept,
of requests that run, and of requests in parts."""

UNTOLD = MAX_TAGS + MAX_IDS
"""Replies of which an engine may say nothing: some it has received and not told yet, and some of requests that ended
without them, under ids that their callers may issue again."""

_SLACK = 8
"""A cache that is full gives up this part of what it keeps at once, and not one reply for each that is new: of the
bytes below its bound, of the replies above what an engine counts on."""

_SETTLE_SHARE = 16
"""All replies are looked through for those below the low-water mark when this part of them can have come below it."""


class Reply(QueuedRecord):
    """An answer, with what has to be known if its request comes again.

    Attributes:
        sequence: of its request.
        digest: what was asked, if the caller chose the id and may issue it again; else None.
        kept_at: since when it is kept; unset before.
    """

    __slots__ = ("digest", "kept_at", "sequence")

    kept_at: float

    # Positional, and no call of QueuedRecord.__init__: as for requests, 0.3 us less each.
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


class ReplyBudget:
    """What all sessions of one container keep together.

    Attributes:
        undeliverable: answers that ended with their sessions, and that nobody has acknowledged.
    """

    def __init__(self, limits: Limits) -> None:
        self.undeliverable = 0
        self.bytes = 0
        self.max_bytes = SESSIONS_FACTOR * limits.reply_bytes
        self.caches: set[ReplyCache] = set()

    def share(self) -> None:
        """Looked at now and then: what all sessions remember together is bounded, too."""
        most = max((cache.max_own for cache in self.caches), default=0)
        crammed = sum(map(len, self.caches)) > SESSIONS_FACTOR * most
        for cache in self.caches:
            cache.max_entries = cache.max_own // SESSIONS_FACTOR if crammed else cache.max_own

    def make(self) -> None:
        """Those who keep the most lose it: a session that keeps little has no part in it."""
        for cache in sorted(self.caches, key=lambda cache: -cache.bytes):
            if self.bytes <= self.max_bytes - self.max_bytes // _SLACK:
                break
            cache.drop_bodies()


class ReplyCache:
    """The replies of one session that its engine may not have.

    An entry leaves when the engine acknowledges it, or after ``reply_ttl``. When there is no room, the oldest ones
    lose what they said, but not that it was said: nothing is run twice for want of memory. The newest ``reply_entries``
    stay as long as ``reply_bytes`` has room for them, which is what an engine counts on; it never has as many requests
    unanswered, but a part of what was received may be here still.

    Attributes:
        entries: the answers, by tag, in the order in which they were given.
        tombstones: those of which only is known that they were given.
        max_entries: how many of both can be remembered; an engine that acknowledges has fewer.
        max_own: the same, while all sessions together have room.
        bytes: what all answers cost that are there whole.
        now: the time, as far as it matters here: set every now and then.
        stale_below: a request with a lower sequence number that is not known is not run: it had its answer, and
            that is forgotten.
    """

    def __init__(self, limits: Limits, room: ReplyBudget) -> None:
        self.now = 0.0
        self.stale_below = 0
        self.entries: dict[bytes, Reply] = {}
        self.tombstones: dict[bytes, Reply] = {}
        self.bytes = 0
        self.max_entries = self.max_own = limits.in_flight + limits.reply_entries + UNTOLD
        self._low_water = self._settled_below = 0
        self._kept = max_kept(limits.in_flight, limits.reply_entries)
        self._max_kept = self._kept + self._kept // _SLACK
        self._max_bytes = limits.reply_bytes
        self._room = room
        room.caches.add(self)

    def __len__(self) -> int:
        return len(self.entries) + len(self.tombstones)

    def keep(self, reply: Reply) -> None:
        """An answer more. There is none under its tag: its request would not have run."""
        reply.kept_at = self.now
        cost = reply.size + REPLY_COST
        if cost > self._max_bytes:
            self._drop_body(reply)
            return
        if reply.buffers:
            # What the handler may still write to is not what it answered; and a small part must not hold a large whole.
            reply.buffers = [unchanging(buffer) for buffer in reply.buffers]
        entries, room = self.entries, self._room
        entries[reply.tag] = reply
        self.bytes = total = self.bytes + cost
        room.bytes += cost
        if len(entries) > self._max_kept or total > self._max_bytes:
            self._make_room()
        if room.bytes > room.max_bytes:
            room.make()

    def acknowledge(self, low_water: int, tags: bytes) -> None:
        """The engine has told what it needs no more.

        Args:
            low_water: the lowest sequence number that it may send again.
            tags: of replies that it has received, back to back.
        """
        if low_water > self._low_water:
            self._low_water = low_water
            self.stale_below = max(self.stale_below, low_water)
        entries, tombstones = self.entries, self.tombstones
        cost = 0
        for (tag,) in TAG.iter_unpack(tags):
            reply = entries.pop(tag, None)
            if reply is not None:
                cost += reply.size + REPLY_COST
            elif tombstones:
                tombstones.pop(tag, None)
        self.bytes -= cost
        self._room.bytes -= cost

    def settle(self) -> None:
        """Forgets what is below the low-water mark: of that, only callers who chose their ids may come again."""
        low_water = self._low_water
        if low_water - self._settled_below <= len(self) // _SETTLE_SHARE:
            return
        self._settled_below = low_water
        for replies in (self.entries, self.tombstones):
            for reply in [r for r in replies.values() if r.sequence < low_water and r.digest is None]:
                self._drop(reply)

    @property
    def has_unsettled(self) -> bool:
        """Whether the engine may still ask again for one of them."""
        return len(self) > 0 and any(
            reply.sequence >= self._low_water
            for reply in itertools.chain(self.entries.values(), self.tombstones.values())
        )

    def expire(self, before: float) -> None:
        """Forgets what was answered before a time. If the engine asks again all the same, it is told so."""
        expired = list(itertools.takewhile(lambda reply: reply.kept_at < before, self.entries.values()))
        # Those stand in the order in which they were buried, and not in that in which they were given.
        expired += [stone for stone in self.tombstones.values() if stone.kept_at < before]
        for reply in expired:
            self.stale_below = max(self.stale_below, reply.sequence + 1)
            self._drop(reply)

    def drop_bodies(self) -> None:
        """Keeps of all answers only that they were given."""
        for reply in list(self.entries.values()):
            self._drop_body(reply)

    def clear(self) -> None:
        """Forgets everything, and counts the answers that nobody has acknowledged."""
        unacknowledged = itertools.chain(self.entries.values(), self.tombstones.values())
        self._room.undeliverable += sum(reply.sequence >= self._low_water for reply in unacknowledged)
        self._room.bytes -= self.bytes
        self._room.caches.discard(self)
        self.entries.clear()
        self.tombstones.clear()
        self.bytes = 0

    def count_late(self) -> None:
        """An answer has come too late: the session has ended."""
        self._room.undeliverable += 1

    def _drop(self, reply: Reply) -> None:
        if self.tombstones.pop(reply.tag, None) is None:
            self._let_go(reply)

    def _let_go(self, reply: Reply) -> None:
        if self.entries.pop(reply.tag, None) is not None:
            self.bytes -= reply.size + REPLY_COST
            self._room.bytes -= reply.size + REPLY_COST

    def _drop_body(self, reply: Reply) -> None:
        """Of an answer only stays that it was given. The answer itself may still be on its way out."""
        self._let_go(reply)
        stone = Reply(reply.tag, b"", (), reply.sequence, reply.digest)
        stone.kept_at = reply.kept_at
        self.tombstones[reply.tag] = stone

    def _make_room(self) -> None:
        self.settle()
        max_entries, max_bytes = len(self.entries), self.bytes
        if max_entries > self._max_kept:
            max_entries = self._kept
        if max_bytes > self._max_bytes:
            max_bytes = self._max_bytes - self._max_bytes // _SLACK
        for reply in list(self.entries.values()):
            if len(self.entries) <= max_entries and self.bytes <= max_bytes:
                break
            self._drop_body(reply)
