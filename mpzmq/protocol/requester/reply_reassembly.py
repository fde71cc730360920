"""Parts of replies that arrive at a link. What is whole goes on as if it had come so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..flow.reassembler import FragmentResult, Reassembler
from ..wire.kinds import Kind
from ..wire.messages import Message, MessageDecoder
from ..wire.records import LINK_TAG

if TYPE_CHECKING:
    from ...config import Limits
    from ..requester.tracker import RequestTracker
    from ..wire.encoder import Encoder
    from ..wire.records import Record

__all__ = ["ReplyReassembly"]


class ReplyReassembly:
    """Replies in parts, of one link.

    Args:
        tracker: the requests.
        encoder: packs what the container is told.
        limits: this side's.

    Attributes:
        in_place: parts that belong to replies somebody waits for, since this was last set to 0.
    """

    def __init__(self, tracker: RequestTracker, encoder: Encoder, limits: Limits) -> None:
        self.in_place = 0
        self._stops = 0  # replies that the container may break off, since it was told that nobody waits for them
        self._tracker = tracker
        self._encoder = encoder
        self._assembler = Reassembler(limits.message_bytes)
        self._reader = MessageDecoder(limits, Kind.RESPONSE)

    def on_part(self, tag: bytes, record: Record, now: float) -> Message | None:
        """A part has come.

        Returns:
            The message whose last part it was.
        """
        _, offset, sizes, pieces = record
        tracker, reassembler = self._tracker, self._assembler
        if reassembler.count(record):
            self._tell()
        if tag not in tracker.pending:
            if sizes is not None or tag == reassembler.tag:
                # Its caller is gone: the container need not send the rest.
                reassembler.refuse(tag)
                tracker.on_response(tag, record)
                self._cancel(tag)
            return None
        outcome = FragmentResult.TAKEN
        if sizes is not None:
            if reassembler.tag:
                self._broken_off()
            outcome = reassembler.begin(tag, sizes, now) if tag in tracker.pending else FragmentResult.MALFORMED
        if outcome is FragmentResult.TAKEN:
            outcome = reassembler.on_fragment(tag, offset, pieces, now)
        if outcome is FragmentResult.DROPPED:
            return None
        if outcome is FragmentResult.TAKEN or outcome is FragmentResult.WHOLE:
            self.in_place += 1
            tracker.progress.on_received(tag, reassembler.received, reassembler.total)
            return self._whole() if outcome is FragmentResult.WHOLE else None
        tracker.on_malformed(tag)
        self._cancel(tag)
        return None

    def drop(self, tag: bytes) -> None:
        """CANCEL goes out: nobody waits for a reply any more."""
        self._stops += 1
        self._assembler.forget(tag)

    def restart(self) -> None:
        """There is no connection, or a new one."""
        self._stops = 0
        self._assembler.restart()

    def _broken_off(self) -> None:
        """Another reply begins, or the same one anew, before the last part of one has come."""
        if self._stops:
            # It was cancelled, and its id then issued again, while its first part was on its way.
            self._stops -= 1
            self._assembler.drop()
        else:
            self._tracker.on_malformed(self._assembler.tag)

    def _whole(self) -> Message:
        self._tell()
        tag = self._assembler.tag
        message = self._reader.decode(self._assembler.take_whole())
        if [record[0] for _, record in message.records] in ([Kind.RESPONSE], [Kind.ERROR], [Kind.CHUNK]):
            return message
        return Message([], message.size, [tag])

    def _tell(self) -> None:
        self._tracker.outbox.put_control(self._encoder.pack([Kind.TAKEN, self._assembler.read()]))

    def _cancel(self, tag: bytes) -> None:
        if tag != LINK_TAG:
            self._tracker.outbox.put_control(self._encoder.pack([Kind.CANCEL]), tag)
