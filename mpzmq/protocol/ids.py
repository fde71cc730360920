"""Request ids that callers chose: which have had their reply, and what was asked under those that have not."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .entry import Entry

__all__ = ["MOST_IDS", "ChosenIds"]

MOST_IDS = 10_000
"""How many of each kind a link remembers."""


class ChosenIds:
    """What became of the last of them."""

    def __init__(self) -> None:
        self._spent: OrderedDict[bytes, None] = OrderedDict()
        self._open: OrderedDict[bytes, bytes] = OrderedDict()

    def replied(self, tag: bytes) -> None:
        """A reply was received: the id is spent."""
        self._open.pop(tag, None)
        self._spent[tag] = None
        if len(self._spent) > MOST_IDS:
            self._spent.popitem(last=False)

    def unanswered(self, entry: Entry) -> None:
        """A request that has left ended without its reply: its caller may issue it again.

        A reply may still be under way. It must not be taken for that of another body.
        """
        if entry.digest is not None and entry.sent:
            self._open[entry.tag] = entry.digest
            if len(self._open) > MOST_IDS:
                self._open.popitem(last=False)

    def is_spent(self, tag: bytes) -> bool:
        """Whether a reply was received under this id."""
        return tag in self._spent

    def refused(self, tag: bytes) -> None:
        """The container has not run it, and knows nothing of it: it never was."""
        self._open.pop(tag, None)

    def is_open(self, tag: bytes) -> bool:
        """Whether a request with this id has left, and may have run."""
        return tag in self._open

    def is_taken(self, entry: Entry) -> bool:
        """Whether something else was asked under this id, and is not answered."""
        return self._open.get(entry.tag, entry.digest) != entry.digest
