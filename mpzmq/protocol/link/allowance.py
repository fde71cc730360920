"""How much a container may say of its own accord: it is asked, and owes an answer or two; more is a flood."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..requester.requester import Requester
    from ..responder.nested_calls import NestedCallReceiver

__all__ = ["ReceiveAllowance"]

UNASKED = 1024
"""Messages that a container may send of its own accord: PING, GOODBYE, ACK, and some to spare."""

WORDS = 4
"""Messages on one request, at most: STARTED, its reply, and both again if the connection was lost in between."""


class ReceiveAllowance:
    """Messages that one connection may still bring.

    Args:
        requester: what was asked: chunks of streams, and parts of replies, come on top.
        nested_calls: what the container asks inside that.
        max_in_flight: requests that can be in flight.
    """

    def __init__(self, requester: Requester, nested_calls: NestedCallReceiver, max_in_flight: int) -> None:
        self._budget = requester.tracker.receive_budget
        self._reassembly = requester.reassembly
        self._nested_calls = nested_calls
        self._asked_for = 0
        self._max_owed = UNASKED + WORDS * max_in_flight
        self._owed = UNASKED

    def count_asked_for(self) -> int:
        """Chunks of streams and parts of replies that have come, and that the container could send, in all."""
        # Each chunk is within the credit, or ends the stream; no more parts of a reply come than its size has.
        came = self._budget.chunks_received + self._reassembly.in_place
        if came:
            self._budget.chunks_received = self._reassembly.in_place = 0
            self._asked_for += came
            self._owed = min(self._max_owed, self._owed + came)
        return self._asked_for

    def restart(self) -> None:
        """Another connection begins: nothing was asked on it."""
        self._owed = UNASKED

    def on_sent(self, requests: int) -> None:
        """A message has left. Beside its requests, the container may answer a PING, and tell what it has read."""
        self._owed = min(self._max_owed, self._owed + 2 + WORDS * requests)

    def on_burst(self, count: int) -> bool:
        """So many messages have come together. False: that is more than was owed."""
        if self._budget.chunks_received or self._reassembly.in_place:
            self.count_asked_for()
        self._owed -= count
        if self._owed < 0:
            # Each call that is made inside a request that is open may have a few messages, too.
            calls, self._nested_calls.credit = self._nested_calls.credit, 0
            self._owed = min(self._max_owed, self._owed + WORDS * calls)
        return self._owed >= 0
