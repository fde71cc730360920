"""The books of one link: every request in exactly one state, and counters that add up."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import MessageTooLarge
from ...models import Executed
from ...statistics import Statistics
from ..effects import ResolveRequests, WakeStreams
from ..flow.fragmenter import FRAGMENT_BYTES, is_large
from ..flow.outbox import Outbox
from ..flow.progress import ProgressTracker
from ..flow.receive_stream import ReceiveBudget
from ..flow.stream_scheduler import StreamScheduler
from ..wire.kinds import Code, Kind
from ..wire.records import EXECUTED_NUMBER
from .pending import PendingRequests
from .reply_acks import MAX_UNREPORTED, ReplyAcks, max_unanswered
from .request_ids import MAX_IDS, AnsweredIds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ...config import Limits
    from ...failure import Failure
    from ..effect_queue import EffectQueue
    from ..flow.receive_stream import ReceiveStream
    from ..wire.messages import Message
    from ..wire.records import Record
    from ..wire.values import Buffer
    from .error_factory import RequestErrors
    from .request import PendingRequest
    from .request_ids import EndedIds

__all__ = ["RequestTracker"]

_E = TypeVar("_E", bound=Exception)

_NO = EXECUTED_NUMBER[Executed.NO]

_ANSWERS = (Code.REMOTE, Code.REFUSED)
"""Errors that are a handler's own answer."""


def _is_old(item: Any) -> bool:
    """Whether what waits to leave is nothing new: a request that has left before, or an item of a stream."""
    return bool(item.sent or item.sequence == 0)


class RequestTracker:
    """Requests from issue to end. It knows nothing of connections: the link tells it what became of them.

    ``issued == replied + failed + cancelled + in_flight`` holds after every method.

    Attributes:
        pending: requests that have not ended.
        outbox: those of them that wait to leave.
        progress: how far large ones have come.
        send_streams: the data of uploads and channels that wait to leave.
        receive_budget: the results of streams that have come.
        issued: requests that the application made; whoever issues one counts it here, and it is in flight.
        message_bytes: the largest message that both sides accept.
    """

    def __init__(self, error_factory: RequestErrors, limits: Limits, ended_ids: EndedIds, effects: EffectQueue) -> None:
        self.error_factory = error_factory
        self.pending = PendingRequests()
        self.progress = ProgressTracker(effects)
        self.outbox = Outbox(limits.batch_records, self.progress)
        self.send_streams = StreamScheduler(limits, effects, self.outbox, in_turn=True)
        self.receive_budget = ReceiveBudget(limits.queued_bytes)
        self._effects = effects
        self.issued = 0
        self.message_bytes = limits.message_bytes
        self._limits = limits
        self._in_flight = limits.in_flight  # and no more than the container keeps replies
        self.answered_ids = AnsweredIds()
        self.ended_ids = ended_ids
        self._open_ids: OrderedDict[bytes, None] = OrderedDict()  # of this link, without a reply
        self.reply_acks = ReplyAcks()
        self.next_sequence: Callable[[], int] = itertools.count(1).__next__
        """The sequence number of the next request; they rise in the order in which requests are submitted."""
        self._sequence = 0  # of the last one that was submitted
        self._replied = self._cancelled = 0
        self._errors: dict[str, int] = {}
        self._late = 0
        self.resent = 0
        """Requests that left more than once."""
        self._disordered = False

    # From the application

    @property
    def low_water(self) -> int:
        """The lowest sequence number that may be sent from now on, again or for the first time."""
        return next(iter(self.pending.values())).sequence if self.pending else self._sequence + 1

    def has_room(self, size: int, buffers: Sequence[Buffer] = ()) -> bool:
        """Whether one more request of ``size`` bytes, with those buffers among them, may be taken."""
        if len(self.pending) >= self._in_flight:
            return False
        # Large ones do not stand in the way of others, nor the one under way in that of the next.
        large = size > FRAGMENT_BYTES and is_large(size, buffers)
        queued = self.outbox.large_bytes if large else self.outbox.bytes
        return queued == 0 or queued + size <= self._limits.queued_bytes

    @property
    def may_leave(self) -> int | None:
        """How many of the requests that wait may leave; None: all. There are more than may be unanswered if they were
        taken before the container had announced that."""
        held_back = len(self.pending) - self._in_flight
        return None if held_back <= 0 else max(0, len(self.outbox) - self.send_streams.in_parts - held_back)

    def count_cancelled(self) -> None:
        """Whoever has begun a request has gone before it was submitted."""
        self._cancelled += 1

    def counted(self, error: _E) -> _E:
        """The error with which a request ends, which is counted."""
        name = type(error).__name__
        self._errors[name] = self._errors.get(name, 0) + 1
        return error

    def submit(self, entry: PendingRequest) -> None:
        """Takes a request; it leaves when the link can take it."""
        self._sequence = entry.sequence
        self.pending.add(entry)
        self.outbox.put(entry)
        if entry.send_stream is not None:
            self.send_streams.open(entry.tag, entry.send_stream)
        if entry.receive_stream is not None:
            self.receive_budget.begin(entry.receive_stream)

    def cancel(self, tag: bytes) -> bool:
        """The caller waits no more. True: the request has left, and the container should be told."""
        entry = self.pending.pop(tag, None)
        if entry is None:
            return False
        self._cancelled += 1
        self.outbox.remove(tag)
        self._close_streams(entry)
        self._leave_open(entry)
        return entry.sent

    # From the container

    def on_response(self, tag: bytes, record: Record) -> None:
        """A RESPONSE has come."""
        entry = self.pending.pop(tag, None)
        if entry is None:
            self._late += 1
            if tag not in self.ended_ids and len(self.reply_acks.tags) < MAX_UNREPORTED:
                self.reply_acks.tags.append(tag)  # nobody will ask for it again
            return
        if entry.receive_stream is not None and not entry.receive_stream.has_ended:
            self._end([entry], self.error_factory.stream_violation)  # items are missing
            return
        self._replied += 1
        self.reply_acks.tags.append(tag)
        if entry.resent or not entry.sent:
            self.outbox.remove(tag)
        if entry.send_stream is not None or entry.receive_stream is not None:
            self._close_streams(entry)
        if entry.digest is not None:
            self.answered_ids.add(tag)
            self.ended_ids.add(entry)
        self._effects.add(ResolveRequests, (entry.waiter, record))

    def on_error(self, tag: bytes, record: Record) -> None:
        """An ERROR has come."""
        code = record[1]
        entry = self.pending.get(tag)
        if entry is None:
            self._late += 1
        elif code == Code.NO_SESSION and entry.send_stream is not None and entry.send_stream.has_credit:
            pass  # of an item of its data: the container had taken the request, which ends with this connection
        elif code == Code.NO_SESSION or (code == Code.DRAINING and entry.may_wait):
            # It has not run: it waits for WELCOME, on this connection or on the successor's.
            if tag not in self.outbox:
                # What was sent on an earlier connection may be known to the container from there. A container that
                # drains knows its past: what it does not run has not run there.
                entry.sent = code == Code.NO_SESSION and entry.resent
                self._put_back([entry])
        else:
            if code in _ANSWERS or entry.digest is None:
                # As a reply, this is what the handler said: the id has had its answer. Any other may be issued again.
                self.reply_acks.tags.append(tag)
            if code == Code.EXPIRED and entry.receive_stream is not None:
                # The container's word of the deadline came first: it ends the stream at once, too.
                entry.receive_stream.clear()
            self._end([entry], lambda entry: self.error_factory.from_record(entry, record))
            if entry.digest is not None:
                if code in _ANSWERS:
                    self.answered_ids.add(tag)
                elif record[2] == _NO and not entry.may_have_run_elsewhere and code != Code.ID_REUSED:
                    self.ended_ids.discard(tag)

    def on_chunk(self, tag: bytes, record: Record, message: Message) -> Record | None:
        """A CHUNK has come.

        Args:
            tag: of its request.
            record: the CHUNK.
            message: which it was in.

        Returns:
            What the container is to be told of it: CREDIT behind the last one; CANCEL of one that may not come, whose
            request has ended.
        """
        entry = self.pending.get(tag)
        if entry is None or entry.receive_stream is None:
            return None  # the reader has gone meanwhile
        entry.started = True
        receive_stream = entry.receive_stream
        had, had_ended = receive_stream.received, receive_stream.has_ended
        if not (message.has_declared_size and receive_stream.on_chunk(record)):
            self._end([entry], self.error_factory.stream_violation)
            return [Kind.CANCEL]
        # What comes again has not been asked for: it is not news, and may be a flood.
        self.receive_budget.chunks_received += (
            receive_stream.received > had or receive_stream.has_ended is not had_ended
        )
        self.receive_budget.on_chunk(tag)
        self._effects.add(WakeStreams, receive_stream.waker)
        return receive_stream.credit_record() if receive_stream.end_unacknowledged else None

    def receive_streams(self) -> list[tuple[bytes, ReceiveStream]]:
        """The streams of results that a container may be sending."""
        return [
            (entry.tag, entry.receive_stream)
            for entry in self.pending.values()
            if entry.receive_stream is not None and entry.sent
        ]

    def is_known(self, tag: bytes) -> bool:
        """Whether the container may know of a request that has not ended."""
        entry = self.pending.get(tag)
        return entry is not None and entry.sent

    def on_started(self, tag: bytes) -> None:
        """The container has told that a handler has begun."""
        entry = self.pending.get(tag)
        if entry is not None:
            entry.started = True
            if entry.receive_stream is not None:
                self._effects.add(WakeStreams, entry.receive_stream.waker)

    def on_malformed(self, tag: bytes) -> None:
        """Something that is not a record has come under this id."""
        entry = self.pending.get(tag)
        if entry is None:
            self._late += 1
        else:
            self._end([entry], self.error_factory.malformed_reply)

    # From the link

    def on_connection_lost(self, failure: Failure, goodbye: str | None) -> list[bytes]:
        """The connection is gone. What was sent waits for the next one: only the container knows what became of it.

        But data that goes piece by piece does not go on: nobody could tell which of it was taken.

        Args:
            failure: why.
            goodbye: what the container has said when it ended: what it has not answered, it never will; None: nothing.

        Returns:
            The tags of those that are to be cancelled, should the container be found again.
        """
        error_factory = self.error_factory
        on_purpose, why = goodbye is not None, goodbye or failure.detail
        make_error = error_factory.forgotten if failure.is_forgotten else error_factory.lost
        make_error = error_factory.closed if on_purpose else make_error
        self.send_streams.on_connection_lost()
        return self.end_those(
            lambda entry: (
                (failure.is_forgotten or (on_purpose and not entry.idempotent) or entry.send_stream is not None)
                if entry.sent
                else not entry.may_wait
            ),
            lambda entry: make_error(entry, why),
        )

    def end_those(
        self, which: Callable[[PendingRequest], bool], make_error: Callable[[PendingRequest], Exception]
    ) -> list[bytes]:
        """Ends requests of a kind. Returns the tags of those that have left."""
        gone = [entry for entry in self.pending.values() if which(entry)]
        self._end(gone, make_error)
        return [entry.tag for entry in gone if entry.sent]

    def on_reconnected(self, why: str | None, *, instance_changed: bool) -> int:
        """A container has said WELCOME: what was sent on earlier connections is sent again.

        Args:
            why: the container does not know of it any more, in words; then only what may run twice is sent.
            instance_changed: whether that is because it is another instance.

        Returns:
            How many requests are sent again.
        """
        outbox = self.outbox
        again = [entry for entry in self.pending.values() if entry.sent]
        if why is not None:
            gone = [entry for entry in again if not entry.idempotent]
            self._end(gone, lambda entry: self.error_factory.lost(entry, why, instance_changed=instance_changed))
            again = [entry for entry in again if entry.idempotent]
            for entry in again:
                entry.may_have_run_elsewhere = True
        for entry in again:
            entry.resent = True
        self._put_back([entry for entry in again if entry.tag not in outbox])
        return len(again)

    def hold_back(self) -> None:
        """The container takes no new requests: one whose parts have not all left is new."""
        under_way = self.outbox.parts.item
        if under_way is not None and not _is_old(under_way):
            self.outbox.stop_parts()

    def next_ack(self) -> Record | None:
        """A RECEIVED, if there is something that the container need not keep; None: there is not."""
        if not self.reply_acks.has_news(self.low_water):
            return None
        return self.reply_acks.record(self.low_water, self.message_bytes)

    def in_order(self) -> Outbox:
        """The outbox, what was put back into it in the order in which it was issued."""
        if self._disordered:
            self._disordered = False
            self.outbox.sort(lambda entry: entry.sequence)
        return self.outbox

    def begun_first(self) -> int:
        """Puts what goes on though no request may leave in front: large items of streams, and what is under way in
        parts. Returns how many."""
        under_way = self.outbox.parts.item
        return self._first(lambda item: item.sequence == 0 or item is under_way)

    def old_first(self) -> int:
        """Puts what the container may have taken in front: if it drains it takes nothing else. Returns how many."""
        return self._first(_is_old)

    def end_all(self, make_error: Callable[[PendingRequest], Exception]) -> None:
        """The link has ended: so has every request."""
        self._end(list(self.pending.values()), make_error)

    def expire(self, now: float, make_error: Callable[[PendingRequest, bool], Exception]) -> list[bytes]:
        """Ends the requests whose deadline has come.

        Args:
            now: the time.
            make_error: makes the error; it is told whether some parts of the request have left, and others have not.

        Returns:
            The tags of those that have left.
        """
        expired = self.pending.expired(now)
        under_way = self.outbox.parts.item
        left = [entry.tag for entry in expired if entry.sent]
        for entry in expired:
            if entry.receive_stream is not None:
                entry.receive_stream.clear()  # a reader that is slow gets nothing after the deadline
        self._end(expired, lambda entry: make_error(entry, entry is under_way))
        return left

    def limit_unanswered(self, limits: Mapping[str, int]) -> None:
        """The container has announced how many replies it keeps: no more requests than that are unanswered."""
        self._in_flight = min(self._limits.in_flight, max_unanswered(limits))
        self.reply_acks.accept(limits)

    def limit_messages(self, size: int) -> None:
        """The container's limit has become known; requests that were queued before may exceed it."""
        self.message_bytes = min(self._limits.message_bytes, size)
        new = [entry for entry in self.pending.values() if not (entry.sent or entry.may_have_run_elsewhere)]
        self._end([entry for entry in new if entry.size > self.message_bytes], self.too_large)

    def too_large(self, entry: PendingRequest) -> MessageTooLarge:
        """The error for a request that one of the sides does not accept."""
        limit, errors = self.message_bytes, self.error_factory
        text = (
            f"{entry.what} to {errors.whom} was not sent: it has {entry.size} bytes, and at most {limit} are"
            f" accepted; {errors.if_too_large}"
        )
        return MessageTooLarge(text, size=entry.size, limit=limit)

    def statistics(self, **others: Any) -> Statistics:
        """The counters, with those that the link keeps."""
        # Each once, and the requests that were issued last: the event loop may go on while a thread asks.
        errors, replied, cancelled = dict(self._errors), self._replied, self._cancelled
        failed = sum(errors.values())
        issued = self.issued
        return Statistics(
            issued=issued,
            replied=replied,
            failed=failed,
            cancelled=cancelled,
            in_flight=issued - replied - failed - cancelled,
            late=self._late,
            resent=self.resent,
            errors=errors,
            **others,
        )

    def _first(self, which: Callable[[Any], bool]) -> int:
        self._disordered = True
        self.outbox.sort(lambda item: (not which(item), item.sequence))
        return self.outbox.count_leading(which)

    def _put_back(self, entries: list[PendingRequest]) -> None:
        for entry in entries:
            self.outbox.put(entry)
        self._disordered = True

    def _end(self, entries: list[PendingRequest], make_error: Callable[[PendingRequest], Exception]) -> None:
        for entry in entries:
            self.pending.pop(entry.tag, None)
            self.outbox.remove(entry.tag)
            self._close_streams(entry)
            self._leave_open(entry)
            self._effects.add(ResolveRequests, (entry.waiter, self.counted(make_error(entry))))

    def _close_streams(self, entry: PendingRequest) -> None:
        self.send_streams.close(entry.tag)
        if entry.receive_stream is not None:
            self.receive_budget.end(entry.tag, entry.receive_stream)

    def _leave_open(self, entry: PendingRequest) -> None:
        """A request has ended without its reply. If its caller chose the id, it may be issued again."""
        if entry.digest is None:
            return
        self.ended_ids.add(entry)
        self._open_ids[entry.tag] = None
        self._open_ids.move_to_end(entry.tag)
        if len(self._open_ids) > MAX_IDS:
            oldest, _ = self._open_ids.popitem(last=False)
            if oldest not in self.pending:
                # It is forgotten here, and need not be remembered there any longer.
                self.reply_acks.tags.append(oldest)
