"""Requests that were cancelled, of which the other side may not know."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["UnconfirmedCancels"]


class UnconfirmedCancels:
    """The last of them, to be said again on the next connection. Said twice, a CANCEL does no harm.

    Args:
        max_ids: how many are remembered.
    """

    def __init__(self, max_ids: int) -> None:
        self._max_ids = max_ids
        self._tags: OrderedDict[bytes, None] = OrderedDict()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._tags)

    def add(self, tag: bytes) -> None:
        """A request that has left was cancelled."""
        self._tags[tag] = None
        if len(self._tags) > self._max_ids:
            self._tags.popitem(last=False)

    def discard(self, tag: bytes) -> None:
        """Its caller has issued the id again: it is to run."""
        self._tags.pop(tag, None)

    def clear(self) -> None:
        """All have been read, or there is nobody left who would know the requests."""
        self._tags.clear()
