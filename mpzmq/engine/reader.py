"""The way in: messages of one container to the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.logs import Log
from ..common.set_module import set_module
from ..common.text import text_of, type_name
from ..failure import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..protocol.link.link import Link
    from ..protocol.wire.messages import MessageDecoder
    from ..transport.interface import Frames

__all__ = ["ComputerEngineReader"]

log = Log(__name__)

UNASKED = 1024
"""Messages that a container may send of its own accord: PING, GOODBYE, ACK, and some to spare."""

WORDS = 4
"""Messages on one request, at most: STARTED, its reply, and both again if the connection was lost in between."""


@set_module("mpzmq")
class ComputerEngineReader:
    """Reads what one container sends, and no more than it owes. A link makes its own; users have nothing to call.

    Args:
        link: takes the messages.
        messages: decodes them; links may share one.
        max_in_flight: requests that can be in flight.

    Attributes:
        asked_for: chunks of streams and parts of replies that have come, and that the container could send.
    """

    def __init__(self, link: Link, messages: MessageDecoder, max_in_flight: int) -> None:
        self._link = link
        self._messages = messages
        self._max_owed = UNASKED + WORDS * max_in_flight
        self._owed = UNASKED
        self.asked_for = 0

    def connected(self) -> None:
        """A connection begins: nothing was asked on it."""
        self._owed = UNASKED

    def on_sent(self, requests: int) -> None:
        """A message has left. Beside its requests, the container may answer a PING, and tell what it has read."""
        self._owed = min(self._max_owed, self._owed + 2 + WORDS * requests)

    def feed(self, messages: Sequence[Frames], now: float) -> Failure | None:
        """Decodes a burst of messages and gives it to the protocol.

        Returns:
            Why the connection has to be given up; None if it has not.
        """
        self._owed -= len(messages)
        if self._owed < 0:
            # Each call that is made inside a request that is open may have a few messages, too.
            credit, self._link.nested_calls.credit = self._link.nested_calls.credit, 0
            self._owed = min(self._max_owed, self._owed + WORDS * credit)
        if self._owed < 0:
            return Failure(FailureKind.LOST, "it floods this engine with what was not asked for", was_up=True)
        failure = None
        for frames in messages:
            try:
                self._link.receive(self._messages.decode(frames), now)
            except Exception as error:  # over this message: what else has come is not to be lost with it
                log.error("%s: a message could not be processed", self._link.error_factory.whom, exc_info=error)
                detail = f"this engine failed over a message of it ({type_name(error)}: {text_of(error)})"
                failure = Failure(FailureKind.LOST, detail, was_up=True)
        tracker, downloads = self._link.tracker, self._link.downloads
        if asked_for := tracker.receive_budget.chunks_received + downloads.in_place:
            # What came on a stream had been asked for: each chunk is within the credit, or ends the stream. So had the
            # parts of a reply that somebody waits for: no more of them come than its announced size has.
            self._owed = min(self._max_owed, self._owed + asked_for)
            self.asked_for += asked_for
            tracker.receive_budget.chunks_received = downloads.in_place = 0
        return failure
