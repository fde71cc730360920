"""The asking side: requests on one link, or calls to one engine, and what the other side is told of their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.kinds import Kind
from .outage import Outage
from .reply_reassembly import ReplyReassembly
from .tracker import RequestTracker
from .unconfirmed_cancels import UnconfirmedCancels

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...config import Limits
    from ..effect_queue import EffectQueue
    from ..flow.outbox import Outbox
    from ..flow.receive_stream import ReceiveStream
    from ..wire.encoder import Encoder
    from ..wire.messages import Message
    from ..wire.records import Record
    from .error_factory import RequestErrors
    from .request import PendingRequest
    from .request_ids import EndedIds

__all__ = ["Requester"]


class Requester:
    """Everything that one side has asked of the other.

    Both kinds of it are the same but for what opens them: the requests of a link wait for WELCOME, the calls of a
    container go wherever its engine is.

    Args:
        error_factory: builds the errors with which requests end.
        limits: the bounds of this side.
        ended_ids: what all requesters of a worker remember together.
        encoder: writes the records.
        effects: takes what is to be done about requests that have ended.
        control: takes CANCEL, CREDIT and RECEIVED; None: the requester's own outbox.

    Attributes:
        tracker: the books.
        reassembly: replies that come in parts.
        outage: for how long the other side has been away.
        cancels: what was cancelled, and may not be known there.
        is_open: whether the other side can be told anything now. A link sets this and the next two; a container's calls
            may be told whenever there is an engine.
        is_running: whether requests can leave now.
        is_closed: whether none is taken any more, nor counted.
    """

    def __init__(
        self,
        error_factory: RequestErrors,
        limits: Limits,
        ended_ids: EndedIds,
        encoder: Encoder,
        effects: EffectQueue,
        control: Outbox | None = None,
    ) -> None:
        self.error_factory = error_factory
        self.encoder = encoder
        self.tracker = RequestTracker(error_factory, limits, ended_ids, effects)
        self.reassembly = ReplyReassembly(self.tracker, encoder, limits)
        self.outage = Outage(self.tracker)
        self.cancels = UnconfirmedCancels(limits.in_flight)
        self.is_open = self.is_running = True
        self.is_closed = False
        self._control = self.tracker.outbox if control is None else control

    # From the application

    def cancel(self, entry: PendingRequest) -> bool:
        """Whoever asked waits no more: the request has ended, and the other side is told if it may know of it.

        Returns:
            False: it had ended before.
        """
        tag = entry.tag
        if self.tracker.pending.get(tag) is not entry:  # another may have been issued under its id since it ended
            return False
        if self.tracker.cancel(tag):
            self.cancels.add(tag)
            self._send_cancel(tag)
        return True

    def credit(self, entry: PendingRequest) -> bool:
        """What had come of a stream was read: the other side may send more. False: it has ended."""
        if entry.receive_stream is None or self.tracker.pending.get(entry.tag) is not entry:
            return False
        self._send_credit(entry.tag, entry.receive_stream)
        return True

    def wait(self, entry: PendingRequest) -> bool:
        """All that had come of a stream was read, and its reader waits for more. True: the other side is to be told."""
        if entry.receive_stream is None or self.tracker.pending.get(entry.tag) is not entry:
            return False
        self.tracker.receive_budget.wait(entry.tag, entry.receive_stream)
        self.tell_who_waits()
        return self.tracker.outbox.has_controls

    def on_items_ready(self, entry: PendingRequest) -> None:
        """Items of an upload or a channel wait: they leave as soon as the other side has given credit for them."""
        self.tracker.send_streams.mark_ready(entry.tag)

    # From the other side

    def receive(self, tag: bytes, record: Record, message: Message) -> bool:
        """A record on a request; False: it means nothing to who asks."""
        handle = _ON_RECORD.get(record[0])
        if handle is None:
            return False
        handle(self, tag, record, message)
        return True

    def on_message(self, size: int) -> None:
        """A message of ``size`` bytes was read: the other side is told in time which replies have come, and who waits
        for more."""
        acks = self.tracker.reply_acks
        if acks.tags and acks.on_message(size):
            self.acknowledge()
        if self.tracker.receive_budget.unread:
            self.tell_who_waits()

    def _on_response(self, tag: bytes, record: Record, message: Message) -> None:
        self.tracker.on_response(tag, record)

    def _on_error(self, tag: bytes, record: Record, message: Message) -> None:
        self.tracker.on_error(tag, record)

    def _on_started(self, tag: bytes, record: Record, message: Message) -> None:
        self.tracker.on_started(tag)

    def _on_chunk(self, tag: bytes, record: Record, message: Message) -> None:
        if (answer := self.tracker.on_chunk(tag, record, message)) is not None:
            self._control.put_control(self.encoder.pack(answer), tag)

    def _on_credit(self, tag: bytes, record: Record, message: Message) -> None:
        self.tracker.send_streams.on_credit(tag, *record[1:])

    def _on_taken(self, tag: bytes, record: Record, message: Message) -> None:
        self.tracker.outbox.parts.on_taken(record[1])

    # With time and connections

    def expire(self, now: float, make_error: Callable[[PendingRequest, bool], Exception]) -> list[bytes]:
        """End what has reached its deadline. The other side knows that, too, and is told once.

        Args:
            now: the time.
            make_error: makes the error; see :meth:`RequestTracker.expire`.

        Returns:
            The tags of those that have left.
        """
        expired = self.tracker.expire(now, make_error)
        for tag in expired:
            self._send_cancel(tag)
        return expired

    def give_up(self, now: float, why: str) -> None:
        """End what waits no longer for the other side, which is away; if that comes back, it is told."""
        for tag in self.outage.expire(now, why):
            self.cancels.add(tag)

    def on_reconnected(self) -> None:
        """The other side has been found again: say what may have been lost. Said twice, it does no harm."""
        for tag in self.cancels:
            self._send_cancel(tag)
        for tag, receive_stream in self.tracker.receive_streams():
            self._send_credit(tag, receive_stream)
        self.tell_who_waits()

    # What the other side is told

    def tell_who_waits(self) -> None:
        """Where too much lies unread, the other side only sends on to readers of which it knows that they wait."""
        receive_budget = self.tracker.receive_budget
        if receive_budget.has_news and self.is_open:
            for tag, receive_stream in receive_budget.wanted(self.tracker.is_known):
                self._control.put_control(self.encoder.pack(receive_stream.credit_record(waits=True)), tag)

    def acknowledge(self) -> None:
        """Tell which replies need not be kept any longer."""
        # One that waits would be replaced: what it names would be lost.
        if self.is_open and not self._control.has_control(Kind.RECEIVED):
            record = self.tracker.next_ack()
            if record is not None:
                self._control.put_control(self.encoder.pack(record))

    def _send_cancel(self, tag: bytes) -> None:
        self.reassembly.drop(tag)
        if self.is_open:
            self._control.put_control(self.encoder.pack([Kind.CANCEL]), tag)

    def _send_credit(self, tag: bytes, receive_stream: ReceiveStream) -> None:
        if self.is_open:  # else when it is again
            self._control.put_control(self.encoder.pack(receive_stream.credit_record()), tag)


_ON_RECORD: dict[int, Callable[[Requester, bytes, Record, Message], None]] = {
    Kind.RESPONSE: Requester._on_response,
    Kind.ERROR: Requester._on_error,
    Kind.STARTED: Requester._on_started,
    Kind.CHUNK: Requester._on_chunk,
    Kind.CREDIT: Requester._on_credit,
    Kind.TAKEN: Requester._on_taken,
}
"""What each kind of record does that speaks of a request."""
