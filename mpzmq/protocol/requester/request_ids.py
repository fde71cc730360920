"""Request ids: made, and those that callers chose: which have had their reply, and what was asked under them."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .request import PendingRequest

__all__ = ["MAX_IDS", "AnsweredIds", "EndedIds", "request_tags"]

MAX_IDS = 10_000
"""How many of each kind are remembered."""


class AnsweredIds:
    """Those under which a reply was received: of one link, since another container may be asked for the same."""

    def __init__(self) -> None:
        self._tags: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, tag: bytes) -> bool:
        return tag in self._tags

    def add(self, tag: bytes) -> None:
        """A reply was received."""
        self._tags[tag] = None
        if len(self._tags) > MAX_IDS:
            self._tags.popitem(last=False)


class EndedIds:
    """Those whose requests have left and ended: of a whole worker.

    If a caller issues one again, what is found out then does not say that nothing has run before; and a reply that is
    still under way must not be taken for that of another body.
    """

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, bytes] = OrderedDict()

    def __contains__(self, tag: bytes | None) -> bool:
        return tag in self._digests

    def add(self, entry: PendingRequest) -> None:
        """A request has ended."""
        if entry.digest is not None and (entry.sent or entry.may_have_run_elsewhere):
            self._digests[entry.tag] = entry.digest
            self._digests.move_to_end(entry.tag)
            if len(self._digests) > MAX_IDS:
                self._digests.popitem(last=False)

    def discard(self, tag: bytes) -> None:
        """The container has not run it, and knows nothing of it."""
        self._digests.pop(tag, None)

    def is_taken(self, entry: PendingRequest) -> bool:
        """Whether something else was asked under this id."""
        return self._digests.get(entry.tag, entry.digest) != entry.digest


def request_tags() -> Callable[[int], bytes]:
    """Makes request ids for callers that choose none: UUIDs of version 8, random in front, a number behind.

    Drawing each from the system's randomness would take as long as encoding the request.
    """
    front = bytearray(os.urandom(8))
    front[6] = front[6] & 0x0F | 0x80
    prefix = bytes(front)
    variant = 1 << 63  # the bits of RFC 9562

    def request_tag(number: int) -> bytes:
        return prefix + (variant + number).to_bytes(8)

    return request_tag
