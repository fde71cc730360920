"""Parts of requests that arrive at a container. What is whole goes on as if it had come so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...models import Executed
from ..flow.outbox import QueuedRecord
from ..flow.reassembler import FragmentResult, ReassemblyBudget
from ..responder.reply_cache import SESSIONS_FACTOR
from ..wire.kinds import Code, Kind
from ..wire.messages import Message, MessageDecoder
from ..wire.records import LINK_TAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...config import Limits
    from ..wire.records import Record
    from .session import EngineSession

__all__ = ["REFUSED", "RequestReassembly"]

PATIENCE = 60.0
"""Seconds without a part after which a container gives up a request in parts: it holds room that others want."""


RETRY_AFTER = 1.0
"""Seconds after which an engine may try again for which there was no room."""


REFUSED = frozenset({FragmentResult.MALFORMED, FragmentResult.TOO_LARGE, FragmentResult.CROWDED})
"""What is not put together, and answered with an ERROR."""


class RequestReassembly:
    """Requests in parts, of all engines of one container.

    Args:
        limits: bounds.
        error: packs an ERROR, from its code, ``executed``, text and detail.
        is_running: whether a request of an engine has not ended.

    Attributes:
        room: what all of them may take.
        chunk: an item of a stream that is whole; whoever has given the last part of it takes it.
    """

    def __init__(
        self,
        limits: Limits,
        error: Callable[[int, Executed, str, dict[str, object] | None], bytes],
        is_running: Callable[[EngineSession, bytes], bool],
    ) -> None:
        self.room = ReassemblyBudget(SESSIONS_FACTOR * limits.queued_bytes)
        self._is_running = is_running
        self.chunk: Message | None = None
        self._limits = limits
        self._pack_error = error
        self._reader = MessageDecoder(limits, Kind.REQUEST)

    def on_part(
        self,
        peer: EngineSession,
        tag: bytes,
        record: Record,
        now: float,
        requests: list[Any],
        refused: list[tuple[EngineSession, QueuedRecord]],
    ) -> FragmentResult:
        """A part has come.

        Args:
            peer: from whom.
            tag: of its request.
            record: the PART.
            now: the time.
            requests: takes the request that is whole: engine, tag, record and size.
            refused: takes engine and ERROR of one that cannot be taken in.

        Returns:
            What became of it; DROPPED: it meant nothing.
        """
        _, offset, sizes, pieces = record
        reassembler = peer.reassembler
        if reassembler.count(record):
            peer.control([Kind.TAKEN, reassembler.read()])
        if tag == LINK_TAG:
            return FragmentResult.DROPPED
        outcome = FragmentResult.TAKEN
        if sizes is not None:
            if reassembler.tag:  # which is not over, and was not cancelled
                refused.append((peer, self._refusal(peer, reassembler.tag, FragmentResult.MALFORMED)))
            outcome = reassembler.begin(tag, sizes, now)
            if outcome is FragmentResult.TAKEN and not self._has_room(peer, tag):
                reassembler.refuse(tag)
                outcome = FragmentResult.CROWDED
        if outcome is FragmentResult.TAKEN:
            outcome = reassembler.on_fragment(tag, offset, pieces, now)
        if outcome is FragmentResult.WHOLE and not self._whole(peer, now, requests):
            outcome = FragmentResult.MALFORMED
        if outcome in REFUSED:
            refused.append((peer, self._refusal(peer, tag, outcome)))
        return outcome

    def on_cancel(self, peer: EngineSession, tag: bytes) -> None:
        """The engine does not wait for a request, and so neither for the rest of its reply."""
        peer.reassembler.forget(tag)
        peer.outbox.drop_fragmented(tag)

    def tick(self, peer: EngineSession, now: float) -> bool:
        """Whether a request was given up whose parts do not come: its engine is to be told."""
        reassembler = peer.reassembler
        if not reassembler.tag or now - reassembler.came_at <= PATIENCE:
            return False
        text = f"for {PATIENCE:.0f} s none of its parts has come"
        peer.outbox.put(self._error(peer, reassembler.tag, Code.OVERLOADED, text))
        reassembler.drop()
        return True

    def _whole(self, peer: EngineSession, now: float, requests: list[Any]) -> bool:
        """The last part was there; False: together they are not a request."""
        reassembler = peer.reassembler
        peer.control([Kind.TAKEN, reassembler.read()])
        tag, under_way = reassembler.tag, now - reassembler.began_at
        message = self._reader.decode(reassembler.take_whole())
        kinds = [record[0] for _, record in message.records]
        if kinds == [Kind.CHUNK]:
            self.chunk = message
            return True
        if kinds != [Kind.REQUEST]:
            return False
        ((_, record),) = message.records
        if record[2] is not None:
            # It counts from the first part, in which it may have been written already.
            record[2] -= int(under_way * 1000)
        requests.append((peer, tag, record, message.size))
        return True

    def _has_room(self, peer: EngineSession, tag: bytes) -> bool:
        """Whether the request may run beside those that do; if it is one of them, it has come again."""
        large = peer.large_in_flight
        full = large > 0 and large + peer.reassembler.total > self._limits.queued_bytes
        return not full or self._is_known(peer, tag)

    def _is_known(self, peer: EngineSession, tag: bytes) -> bool:
        replies = peer.replies
        return tag in replies.entries or tag in replies.tombstones or self._is_running(peer, tag)

    def _refusal(self, peer: EngineSession, tag: bytes, outcome: FragmentResult) -> QueuedRecord:
        if outcome is FragmentResult.TOO_LARGE:
            most = self._limits.message_bytes
            text = f"the request is larger than the {most} bytes that the container accepts (Limits.message_bytes)"
            return self._error(peer, tag, Code.MALFORMED, text)
        if outcome is FragmentResult.MALFORMED:
            text = (
                "the parts of the request are not those of one, or it is beyond the container's Limits (depth, items)"
            )
            return self._error(peer, tag, Code.MALFORMED, text)
        text = "there is no room for a request of this size beside the others (Limits.queued_bytes)"
        return self._error(peer, tag, Code.OVERLOADED, text)

    def _error(self, peer: EngineSession, tag: bytes, code: int, text: str) -> QueuedRecord:
        # What comes again may have run, whatever becomes of the rest of it.
        executed = Executed.UNKNOWN if self._is_known(peer, tag) else Executed.NO
        detail: dict[str, object] | None = {"retry_after": RETRY_AFTER} if code == Code.OVERLOADED else None
        return QueuedRecord(tag, self._pack_error(code, executed, text, detail))
