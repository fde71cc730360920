"""What one burst of messages asks for, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..wire.records import Record

if TYPE_CHECKING:
    from ..flow.outbox import QueuedRecord
    from .responder import Responder

__all__ = ["Request", "RequestBatch"]

Request = tuple["Responder", bytes, Record, int]
"""One REQUEST of who has greeted: who asks, the tag, the record, its share of the message in bytes."""


class RequestBatch:
    """What one burst of messages asks of the container.

    Attributes:
        requests: to be started, in order; None stands for one whose CANCEL came behind it in the burst.
        cancels: engine and tag of each CANCEL, and its request where that was in the burst: it may have come again,
            and be at work already.
        closed_sessions: engines that said GOODBYE: nobody waits for anything of theirs.
        malformed: engine and tag of what is not a request, though somebody may wait for its reply.
        refused: engine and ERROR of each request in parts that cannot be taken in.
        acks: each RECEIVED: how many requests came before it, engine, low-water mark and tags. It counts when those
            have been started: one that came again, in front of it, must still be known.
    """

    __slots__ = ("_placed", "_places", "acks", "cancels", "closed_sessions", "malformed", "refused", "requests")

    def __init__(self) -> None:
        self.requests: list[Request | None] = []
        self.cancels: list[tuple[Responder, bytes, Record | None]] = []
        self.closed_sessions: set[Responder] = set()
        # The reader that fills these two empties them again, and knows its own class of requester.
        self.malformed: list[tuple[Any, bytes]] = []
        self.refused: list[tuple[Any, QueuedRecord]] = []
        self.acks: list[tuple[int, Responder, int, bytes]] = []
        self._places: dict[tuple[Responder, bytes], int] = {}
        self._placed = 0

    def cancel(self, peer: Responder, tag: bytes) -> None:
        """A CANCEL was read: it stops what came before it, and not the same id issued anew behind it."""
        self.cancels.append((peer, tag, self.withdraw(peer, tag)))

    def withdraw(self, peer: Responder, tag: bytes) -> Record | None:
        """Takes a request of this burst out, so that it is not started; None: it is not in it."""
        place = self._find().pop((peer, tag), None)
        request = None if place is None else self.requests[place]
        if place is None or request is None:
            return None
        self.requests[place] = None
        return request[2]

    def _find(self) -> dict[tuple[Responder, bytes], int]:
        """Where each request stands. Most bursts cancel nothing and never ask (0.3 us a request)."""
        for place in range(self._placed, len(self.requests)):
            request = self.requests[place]
            if request is not None:
                self._places[request[0], request[1]] = place
        self._placed = len(self.requests)
        return self._places
