"""Replies that have come: the container need not keep them any longer, and is told so in good time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..wire.kinds import Kind
from ..wire.schema import MAX_TAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..wire.records import Record

__all__ = ["MAX_UNREPORTED", "REPLY_COST", "ReplyAcks", "max_kept", "max_unanswered"]

REPLY_COST: Final = 256
"""Bytes that a kept reply takes beside its own (a reply of 80 bytes: 303 in all)."""

SMALL_REPLY: Final = REPLY_COST + 80
"""Bytes of a small reply: so many of them as the container has room for may be lost with a connection, and none is."""

SPARE: Final = 64
"""Requests beyond ``in_flight`` that may leave: the container is to refuse them, and they are not to wait."""

FORMER_ENTRIES, FORMER_BYTES = 1024, 8 * 1024 * 1024
"""What containers keep that do not announce it."""

ALONG: Final = 32
"""Replies from which on the container is told, with requests that leave anyway."""

ALONE, ALONE_BYTES = 256, 1024 * 1024
"""Replies, and their bytes, from which on it is told even if nothing else leaves."""

MAX_UNREPORTED: Final = 8 * MAX_TAGS
"""Up to so many that wait to be told, replies that nobody has waited for are noted, too: who sends those without end
may never read what it is told, and what is not told is forgotten with the low-water mark."""


def max_kept(in_flight: int, reply_entries: int) -> int:
    """How many replies a container keeps with these limits."""
    return reply_entries if reply_entries < in_flight else max(reply_entries, in_flight + SPARE)


def max_unanswered(limits: Mapping[str, int]) -> int:
    """How many requests may be unanswered on a link, by the limits that its container has announced.

    All of them may have run when the connection breaks, and each has its reply only if the container keeps as many.
    """
    entries = limits.get("reply_entries", FORMER_ENTRIES)
    small = limits.get("reply_bytes", FORMER_BYTES) // SMALL_REPLY
    return min(max_kept(limits.get("in_flight", entries + 1), entries), max(small, SPARE))


class ReplyAcks:
    """The tags of replies of which the container has not been told."""

    def __init__(self) -> None:
        self.tags: list[bytes] = []
        self._bytes = 0
        self._max_bytes = ALONE_BYTES
        self._low_water = 1  # as it was told last

    def accept(self, limits: Mapping[str, int]) -> None:
        """The container has announced how much it keeps: it is told before half of that is of no use."""
        self._max_bytes = min(ALONE_BYTES, limits.get("reply_bytes", FORMER_BYTES) // 2)

    def on_message(self, size: int) -> bool:
        """A message of ``size`` bytes has come while there are some; True: the container should be told now."""
        self._bytes += size
        return len(self.tags) >= ALONE or self._bytes >= self._max_bytes

    @property
    def should_piggyback(self) -> bool:
        """Whether they are worth a record in a message that leaves anyway."""
        return len(self.tags) >= ALONG

    def has_news(self, low_water: int) -> bool:
        """Whether the container does not know all that it may."""
        return bool(self.tags) or low_water > self._low_water

    def record(self, low_water: int, message_bytes: int) -> Record:
        """A RECEIVED with as many as one may name, which need not be told again.

        Args:
            low_water: the lowest sequence number that may be sent from now on.
            message_bytes: the largest message that the container accepts; half of it is left to others.
        """
        most = min(MAX_TAGS, message_bytes // 32)
        tags = b"".join(self.tags[:most])
        del self.tags[:most]
        self._bytes = 0
        self._low_water = low_water
        return [Kind.RECEIVED, low_water, tags]

    def clear(self) -> None:
        """There is nobody left who would keep them, and whoever is there now knows nothing yet."""
        self.tags.clear()
        self._low_water = 1
