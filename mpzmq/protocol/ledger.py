"""The books of one link: every request in exactly one state, and counters that add up."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

from ..errors import MessageTooLarge
from ..statistics import Statistics
from .outbox import Outbox
from .pending import PendingTable
from .wire import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Limits
    from .entry import Entry
    from .verdicts import Verdicts
    from .wire import Record

__all__ = ["Ledger"]

SPENT_IDS = 10_000
"""How many request ids, chosen by callers, whose reply was received a link remembers."""


class Ledger:
    """Requests from issue to end. It knows nothing of connections: the link tells it what became of them.

    ``issued == replied + failed + cancelled + in_flight`` holds after every method.

    Attributes:
        pending: requests that have not ended.
        outbox: those of them that wait to leave.
        ended: who waited for the requests that have ended since this was last taken, each with the outcome: the
            RESPONSE record, or the error to raise.
        issued: requests that the application made; whoever issues one counts it here, and it is in flight.
        message_bytes: the largest message that both sides accept.
    """

    def __init__(self, verdicts: Verdicts, limits: Limits) -> None:
        self.verdicts = verdicts
        self.pending = PendingTable()
        self.outbox = Outbox(limits.batch_records)
        self.ended: list[tuple[Any, Any]] = []
        self.issued = 0
        self.message_bytes = limits.message_bytes
        self._own_message_bytes = limits.message_bytes
        self._in_flight = limits.in_flight
        self._queued_bytes = limits.queued_bytes
        self._spent: set[bytes] = set()
        self._spent_order: deque[bytes] = deque()
        self.next_sequence: Callable[[], int] = itertools.count(1).__next__
        """The sequence number of the next request."""
        self._replied = self._failed = self._cancelled = 0
        self._late = self._resent = 0
        self._disordered = False

    # From the application

    def is_spent(self, tag: bytes) -> bool:
        """Whether a reply has been received under this id, chosen by a caller."""
        return tag in self._spent

    def has_room(self, size: int) -> bool:
        """Whether one more request of ``size`` bytes may be taken."""
        if len(self.pending) >= self._in_flight:
            return False
        queued = self.outbox.bytes
        return queued == 0 or queued + size <= self._queued_bytes

    def count_ended(self, *, cancelled: bool) -> None:
        """A request ended that had not been submitted yet."""
        if cancelled:
            self._cancelled += 1
        else:
            self._failed += 1

    def submit(self, entry: Entry) -> None:
        """Takes a request; it leaves when the link can take it."""
        self.pending.add(entry)
        self.outbox.put(entry)

    def cancel(self, tag: bytes) -> bool:
        """The caller waits no more. True: the request has left, and the container should be told."""
        entry = self.pending.pop(tag, None)
        if entry is None:
            return False
        self._cancelled += 1
        return self.outbox.remove(tag) is None

    def take_ended(self) -> list[tuple[Any, Any]]:
        """Who is to be told of an end now, and of which."""
        ended, self.ended = self.ended, []
        return ended

    # From the container

    def replied(self, tag: bytes, record: Record) -> None:
        """A RESPONSE has come."""
        entry = self.pending.pop(tag, None)
        if entry is None:
            self._late += 1
            return
        self._replied += 1
        if entry.resent or not entry.sent:
            self.outbox.remove(tag)
        if entry.chosen:
            self._spend(tag)
        self.ended.append((entry.waiter, record))

    def errored(self, tag: bytes, record: Record) -> None:
        """An ERROR has come."""
        code = record[1]
        entry = self.pending.get(tag)
        if entry is None:
            self._late += 1
        elif code == Code.NO_SESSION or (code == Code.DRAINING and entry.wait):
            # It has not run: it waits for WELCOME, on this connection or on the successor's.
            if tag not in self.outbox:
                entry.sent = entry.resent
                self._put_back([entry])
        else:
            self._end([entry], lambda entry: self.verdicts.from_record(entry, record))

    def undecodable(self, tag: bytes) -> None:
        """Something that is no record has come under this id."""
        entry = self.pending.get(tag)
        if entry is None:
            self._late += 1
        else:
            self._end([entry], self.verdicts.undecodable)

    # From the link

    def lost(self, why: str, *, on_purpose: bool) -> None:
        """The connection is gone: what left on it ends, or waits for the next one where it may run twice."""
        outbox = self.outbox
        again = [entry for entry in self.pending.values() if entry.idempotent and entry.tag not in outbox]
        for entry in again:
            entry.resent = True
        self._resent += len(again)
        self._put_back(again)
        verdict = self.verdicts.closed if on_purpose else self.verdicts.lost
        gone = [entry for entry in self.pending.values() if entry.tag not in outbox or not entry.wait]
        self._end(gone, lambda entry: verdict(entry, why))

    def in_order(self) -> Outbox:
        """The outbox, what was put back into it in the order in which it was issued."""
        if self._disordered:
            self._disordered = False
            self.outbox.sort(lambda entry: entry.sequence)
        return self.outbox

    def end_all(self, verdict: Callable[[Entry], Exception]) -> None:
        """The link has ended: so has every request."""
        self._end(list(self.pending.values()), verdict)

    def expire(self, now: float, verdict: Callable[[Entry], Exception]) -> list[bytes]:
        """Ends the requests whose deadline has come; returns those that have left."""
        expired = self.pending.expired(now)
        left = [entry.tag for entry in expired if entry.tag not in self.outbox]
        self._end(expired, verdict)
        return left

    def limit_messages(self, size: int) -> None:
        """The container's limit has become known; requests that were queued before may exceed it."""
        self.message_bytes = min(self._own_message_bytes, size)
        self._end([entry for entry in self.pending.values() if entry.size > self.message_bytes], self.too_large)

    def too_large(self, entry: Entry) -> MessageTooLarge:
        """The error for a request that one of the sides does not accept."""
        limit = self.message_bytes
        text = (
            f"{entry.what} to {self.verdicts.whom} was not sent: it has {entry.size} bytes, and at most {limit} are"
            " accepted; send less at a time, or raise Limits.message_bytes on both sides"
        )
        return MessageTooLarge(text, size=entry.size, limit=limit)

    def statistics(self, *, reconnects: int, attempts: int, rtt: float | None) -> Statistics:
        """The counters, with those that the link keeps."""
        return Statistics(
            issued=self.issued,
            replied=self._replied,
            failed=self._failed,
            cancelled=self._cancelled,
            in_flight=self.issued - self._replied - self._failed - self._cancelled,
            late=self._late,
            resent=self._resent,
            reconnects=reconnects,
            attempts=attempts,
            rtt=rtt,
        )

    def _put_back(self, entries: list[Entry]) -> None:
        self.outbox.restore(entries)
        self._disordered = True

    def _end(self, entries: list[Entry], verdict: Callable[[Entry], Exception]) -> None:
        for entry in entries:
            self.pending.pop(entry.tag, None)
            self.outbox.remove(entry.tag)
            self._failed += 1
            self.ended.append((entry.waiter, verdict(entry)))

    def _spend(self, tag: bytes) -> None:
        if tag not in self._spent:
            self._spent.add(tag)
            self._spent_order.append(tag)
            if len(self._spent_order) > SPENT_IDS:
                self._spent.discard(self._spent_order.popleft())
