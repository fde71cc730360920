"""CANCELs that the container may not have read: a connection that breaks may have taken them along."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cancels"]


class Cancels:
    """The last of them, to be said again on the next connection. Said twice, a CANCEL does no harm.

    Args:
        most: how many are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tags: OrderedDict[bytes, None] = OrderedDict()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._tags)

    def add(self, tag: bytes) -> None:
        """A request that has left was cancelled."""
        self._tags[tag] = None
        if len(self._tags) > self._most:
            self._tags.popitem(last=False)

    def discard(self, tag: bytes) -> None:
        """Its caller has issued the id again: it is to run."""
        self._tags.pop(tag, None)

    def clear(self) -> None:
        """All have been read, or there is nobody left who would know the requests."""
        self._tags.clear()
