"""Replies that have come: the container need not keep them any longer, and is told so in good time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.kinds import Kind
from ..wire.schema import MOST_TAGS

if TYPE_CHECKING:
    from ..wire.records import Record

__all__ = ["MOST_UNTOLD", "Receipts"]

ALONG = 32
"""Replies from which on the container is told, with requests that leave anyway."""

ALONE, ALONE_BYTES = 256, 1024 * 1024
"""Replies, and their bytes, from which on it is told even if nothing else leaves."""

MOST_UNTOLD = 8 * MOST_TAGS
"""Up to so many that wait to be told, replies that nobody has waited for are noted, too: who sends those without end
may never read what it is told, and what is not told is forgotten with the low-water mark."""


class Receipts:
    """The tags of replies of which the container has not been told."""

    def __init__(self) -> None:
        self.tags: list[bytes] = []
        self._bytes = 0
        self._low_water = 1  # as it was told last

    def came(self, size: int) -> bool:
        """A message of ``size`` bytes has come while there are some; True: the container should be told now."""
        self._bytes += size
        return len(self.tags) >= ALONE or self._bytes >= ALONE_BYTES

    @property
    def may_go_along(self) -> bool:
        """Whether they are worth a record in a message that leaves anyway."""
        return len(self.tags) >= ALONG

    def are_news(self, low_water: int) -> bool:
        """Whether the container does not know all that it may."""
        return bool(self.tags) or low_water > self._low_water

    def record(self, low_water: int, message_bytes: int) -> Record:
        """A RECEIVED with as many as one may name, which need not be told again.

        Args:
            low_water: the lowest sequence number that may be sent from now on.
            message_bytes: the largest message that the container accepts; half of it is left to others.
        """
        most = min(MOST_TAGS, message_bytes // 32)
        tags = b"".join(self.tags[:most])
        del self.tags[:most]
        self._bytes = 0
        self._low_water = low_water
        return [Kind.RECEIVED, low_water, tags]

    def clear(self) -> None:
        """There is nobody left who would keep them, and whoever is there now knows nothing yet."""
        self.tags.clear()
        self._low_water = 1
