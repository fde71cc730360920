"""The engine's half of the protocol: one link to one container, on whatever connections it gets.

The state machine is the table ``TRANSITIONS``. Everything else here decides, synchronously, what follows from a
signal: which requests end and how (``ended``), what the application is told (``events``), what leaves next
(:meth:`Link.next_outgoing`). Whoever owns the link carries it out.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Any

from ..errors import MessageTooLarge
from ..events import LinkBusy, LinkClosed, LinkDown, LinkEvent, LinkFailed, LinkRetry, LinkUp, StatusChanged
from ..failure import Failure, FailureKind
from ..message import LinkState, Status
from ..statistics import Statistics
from . import wire
from .attempts import Attempts
from .codec import Encoder
from .liveness import Liveness
from .outbox import Outbox, Outgoing
from .pending import Entry, PendingTable
from .verdicts import Verdicts
from .window import Window
from .wire import STATUSES, Code, Goodbye, Kind

if TYPE_CHECKING:
    from uuid import UUID

    from ..config import HeartbeatPolicy, Limits, ReconnectPolicy
    from .wire import Message, Record

__all__ = ["TRANSITIONS", "Link", "Signal"]

SPENT_IDS = 10_000
"""How many request ids whose reply was received a link remembers."""


class Signal(enum.Enum):
    """What can happen to a link."""

    HANDSHAKEN = "ZMTP handshake done"
    WELCOMED = "WELCOME received"
    SILENT = "nothing heard for two intervals"
    HEARD = "heard again"
    GOODBYE = "the container said GOODBYE"
    LOST = "dial failed or connection lost"
    GAVE_UP = "no redial left, or none can help"
    CLOSED = "ended by this side"


_S = LinkState
TRANSITIONS: dict[tuple[LinkState, Signal], LinkState] = {
    (_S.CONNECTING, Signal.WELCOMED): _S.ALIVE,
    (_S.CONNECTING, Signal.LOST): _S.DOWN,
    (_S.CONNECTING, Signal.GAVE_UP): _S.FAILED,
    (_S.ALIVE, Signal.SILENT): _S.BUSY,
    (_S.ALIVE, Signal.GOODBYE): _S.DRAINING,
    (_S.ALIVE, Signal.LOST): _S.DOWN,
    (_S.ALIVE, Signal.GAVE_UP): _S.FAILED,
    (_S.BUSY, Signal.HEARD): _S.ALIVE,
    (_S.BUSY, Signal.WELCOMED): _S.ALIVE,
    (_S.BUSY, Signal.GOODBYE): _S.DRAINING,
    (_S.BUSY, Signal.LOST): _S.DOWN,
    (_S.BUSY, Signal.GAVE_UP): _S.FAILED,
    (_S.DRAINING, Signal.LOST): _S.DOWN,
    (_S.DRAINING, Signal.GAVE_UP): _S.FAILED,
    (_S.DOWN, Signal.HANDSHAKEN): _S.BUSY,
    (_S.DOWN, Signal.GAVE_UP): _S.FAILED,
    **{(state, Signal.CLOSED): _S.CLOSED for state in LinkState if state is not _S.CLOSED},
}
"""Where a signal leads. A pair that is not here changes nothing."""


class Link:
    """One link to one container.

    Args:
        verdicts: builds the errors of the link.
        session: the id of the worker's session.
        engine_name: what the worker calls itself.
        once: give up when the first dial fails, whatever the policy.
        now: the time.
    """

    def __init__(
        self,
        verdicts: Verdicts,
        session: UUID,
        engine_name: str,
        reconnect: ReconnectPolicy,
        heartbeat: HeartbeatPolicy,
        limits: Limits,
        *,
        once: bool,
        now: float,
    ) -> None:
        self.verdicts = verdicts
        self.encoder = Encoder(limits)
        self.pending = PendingTable()
        self.outbox = Outbox(limits.batch_records)
        self.attempts = Attempts(reconnect)
        self.liveness = Liveness(heartbeat, now)
        self.state = LinkState.CONNECTING
        self.status: Status | None = None
        self.instance: UUID | None = None
        self.failure: Failure | None = None
        """Why the last dial or connection ended."""
        self.ended: list[tuple[Entry, Any]] = []
        """Requests that have ended since this was last emptied: a RESPONSE record, or the error to raise."""
        self.events: list[LinkEvent] = []
        """What the application is to be told since this was last emptied."""
        self.welcomed = False
        """Whether the container has said WELCOME on this connection."""
        self.goodbye: str | None = None
        """Why the container said GOODBYE on this connection."""
        self.turned_away: Failure | None = None
        """Why the container will not say WELCOME on this connection."""
        self.message_bytes = limits.message_bytes
        """The largest message that both sides accept."""

        self._session = session
        self._engine_name = engine_name
        self._interval = heartbeat.interval
        self._limits = limits
        self._once = once
        self._connection = 0
        self._handshaken = False
        self._was_up = False
        self._window = Window()
        self._spent: set[bytes] = set()
        self._spent_order: deque[bytes] = deque()
        self._sequence = 0
        self._issued = self._replied = self._failed = self._cancelled = 0
        self._late = self._resent = self._reconnects = 0
        self.ignored = 0

    # What the application does

    @property
    def is_running(self) -> bool:
        """Whether requests can leave now."""
        return self.state is LinkState.ALIVE or (self.state is LinkState.BUSY and self.welcomed)

    @property
    def is_handshaken(self) -> bool:
        """Whether the ZMTP handshake of a connection is done."""
        return self._handshaken

    @property
    def is_over(self) -> bool:
        """Whether the link has ended for good."""
        return self.state is LinkState.FAILED or self.state is LinkState.CLOSED

    def next_sequence(self) -> int:
        """The sequence number of the next request."""
        self._sequence += 1
        return self._sequence

    def is_spent(self, tag: bytes) -> bool:
        """Whether a reply has been received under this id, chosen by a caller."""
        return tag in self._spent

    def has_room(self, size: int) -> bool:
        """Whether one more request of ``size`` bytes may be taken."""
        if len(self.pending) >= self._limits.in_flight:
            return False
        queued = self.outbox.bytes
        return queued == 0 or queued + size <= self._limits.queued_bytes

    def count_issued(self) -> None:
        """The application made a request; from now on it is in flight."""
        self._issued += 1

    def count_ended(self, *, cancelled: bool) -> None:
        """A request ended that had not entered the table yet."""
        if cancelled:
            self._cancelled += 1
        else:
            self._failed += 1

    def submit(self, entry: Entry) -> None:
        """Takes a request; it leaves when the link can take it."""
        self.pending.add(entry)
        self.outbox.put(entry)

    def cancel(self, tag: bytes) -> None:
        """The caller waits no more: the request has ended, and the container is told if it may know of it."""
        entry = self.pending.pop(tag)
        if entry is None:
            return
        self._cancelled += 1
        self._withdraw(entry)

    def close(self, why: str, now: float) -> None:
        """Ends the link from this side: CANCEL and GOODBYE are queued, what is pending ends."""
        if self.state is LinkState.CLOSED:
            return
        # One GOODBYE says it all: the container cancels whatever the session still runs.
        self._end([*self.pending.take(lambda entry: True)], lambda entry: self.verdicts.closed(entry, why))
        self.outbox.clear()
        if self.welcomed:
            self.outbox.put_control(self.encoder.pack([Kind.GOODBYE, Goodbye.CLOSED, why]))
        self._signal(Signal.CLOSED)
        self._tell(LinkClosed, why, now)

    # What the transport tells

    def handshaken(self, now: float) -> None:
        """A connection's ZMTP handshake is done: greet."""
        self._connection += 1
        self._handshaken = True
        self.welcomed = False
        self.goodbye = self.turned_away = None
        self.liveness.connected(now)
        self._window.open(1, 1)
        self.outbox.clear_control()
        hello = wire.hello(self._session, self._connection, self._engine_name, self._interval, self._limits)
        self.outbox.put_control(self.encoder.pack(hello))
        if self._signal(Signal.HANDSHAKEN):
            self._tell(LinkBusy, "the container's process was reached, its WELCOME is outstanding", now)

    def connection_ended(self, failure: Failure, now: float) -> None:
        """A dial has failed or a connection is lost. :meth:`judge` then says whether the link goes on."""
        if self.is_over:
            return
        self.failure = failure
        lost = self.welcomed
        draining = self.state is LinkState.DRAINING or self.goodbye is not None
        goodbye = self.goodbye
        self._handshaken = self.welcomed = False
        self.goodbye = None
        self.outbox.clear_control()
        if lost:
            self._signal(Signal.LOST)
            self._tell(LinkDown, failure.detail, now)
            self._end_lost(failure.detail if not draining else (goodbye or "the container drained"), draining)
        else:
            self.attempts.dial_failed()
            if self._signal(Signal.LOST) and self._was_up:
                self._tell(LinkDown, failure.detail, now)

    def judge(self, now: float) -> None:
        """After one or more dials have ended: does the link go on?"""
        if self.is_over or self._handshaken or self.failure is None:
            return
        first_and_only = self._once and not self._was_up
        if not (self.failure.fatal or first_and_only or self.attempts.exhausted):
            if self.attempts.failed or not self._was_up:
                self._tell(LinkRetry, self.failure.detail, now, attempt=self.attempts.failed)
            return
        self._signal(Signal.GAVE_UP)
        self._tell(LinkFailed, self.failure.detail, now, attempts=self.attempts.failed)
        self.outbox.clear()
        why = f"its link has FAILED ({self.failure.detail})"
        self._end(self.pending.take(lambda entry: True), lambda entry: self.verdicts.lost(entry, why))

    def receive(self, message: Message, now: float) -> None:
        """One message of the container, decoded."""
        self.liveness.heard(now)
        if self.state is LinkState.BUSY and self.welcomed:
            self._signal(Signal.HEARD)
            self._tell_up("the container answers again", now, reconnected=False)
        self.ignored += message.ignored
        for tag, record in message.records:
            kind = record[0]
            if kind == Kind.RESPONSE:
                entry = self.pending.pop(tag)
                if entry is None:
                    self._late += 1
                    continue
                self._replied += 1
                if entry.resent or not entry.sent:
                    self.outbox.remove(tag)
                if entry.chosen:
                    self._spend(tag)
                if STATUSES[record[1]] is not self.status:
                    self._status(record[1], now)
                self.ended.append((entry, record))
            elif kind == Kind.ERROR:
                self._error(tag, record, now)
            else:
                self._control(record, now)
        for tag in message.malformed:
            entry = self.pending.pop(tag)
            if entry is None:
                self._late += 1
            else:
                self._end([entry], self.verdicts.undecodable)

    def tick(self, now: float) -> Failure | None:
        """Acts on the time: deadlines, heartbeat, verdicts.

        Call it only after everything that has arrived was given to :meth:`receive`: a worker whose own loop was
        blocked must hear before it judges.

        Returns:
            Why the connection has to be given up, None if it has not.
        """
        full = self.is_running and not self._window.has_room()
        for entry in self.pending.expired(now):
            self._withdraw(entry)
            self._end([entry], lambda entry: self.verdicts.timed_out(entry, self.state, full))
        if not self._handshaken:
            return None
        if self.liveness.is_stuck(now):
            detail = f"nothing heard for {now - self.liveness.last_heard:.1f} s, which is HeartbeatPolicy.stuck_after"
            return Failure(FailureKind.STUCK, detail, was_up=True)
        if not self.welcomed:
            return None
        if self.liveness.is_ping_due(now):
            self.liveness.pinged(now)
            self.outbox.put_control(self.encoder.pack([Kind.PING, self._connection]))
        if self.liveness.is_silent(now) and self._signal(Signal.SILENT):
            silence = now - self.liveness.last_heard
            self._tell(LinkBusy, f"no answer for {silence:.1f} s, but the container's process lives", now)
        return None

    def next_tick(self, now: float) -> float | None:
        """When :meth:`tick` has something to do next; None: not before something else happens."""
        times = [self.pending.next_deadline()]
        if self._handshaken:
            times.append(self.liveness.next_check(now))
        return min((time for time in times if time is not None), default=None)

    # What leaves

    def next_outgoing(self, now: float) -> Outgoing | None:
        """The next message, marked as sent by :meth:`sent`; None: nothing may leave now."""
        if not self._handshaken:
            return None
        if self.is_running and self._window.has_room():
            return self.outbox.cut(now)
        if self.state is LinkState.CLOSED or self._window.has_control_room():
            return self.outbox.cut(now, items=False)
        return None

    def sent(self, outgoing: Outgoing) -> None:
        """The transport has taken a message."""
        if self.welcomed:
            self._window.sent(outgoing.size)
        for entry in outgoing.items:
            entry.sent = True  # type: ignore[attr-defined]

    def statistics(self) -> Statistics:
        """The counters of this link."""
        return Statistics(
            issued=self._issued,
            replied=self._replied,
            failed=self._failed,
            cancelled=self._cancelled,
            in_flight=self._issued - self._replied - self._failed - self._cancelled,
            late=self._late,
            resent=self._resent,
            reconnects=self._reconnects,
            attempts=self.attempts.total,
            rtt=self.liveness.rtt,
        )

    # The rest decides

    def _signal(self, signal: Signal) -> bool:
        state = TRANSITIONS.get((self.state, signal))
        if state is None or state is self.state:
            return False
        self.state = state
        return True

    def _tell(self, event: type[LinkEvent], reason: str, now: float, **facts: Any) -> None:
        self.events.append(event(self.verdicts.remote_id, self.verdicts.name, now, reason, **facts))

    def _tell_up(self, reason: str, now: float, *, reconnected: bool) -> None:
        self._tell(LinkUp, reason, now, instance=self.instance, reconnected=reconnected)

    def _status(self, number: int, now: float) -> None:
        previous, self.status = self.status, STATUSES[number]
        if previous is not self.status:
            self._tell(StatusChanged, "the container says so", now, status=self.status, previous=previous)

    def _end(self, entries: list[Entry], verdict: Any) -> None:
        for entry in entries:
            self._failed += 1
            self.ended.append((entry, verdict(entry)))

    def _withdraw(self, entry: Entry) -> None:
        """Nobody waits for this request any more."""
        if self.outbox.remove(entry.tag) is None and self.welcomed:
            self.outbox.put_control(self.encoder.pack([Kind.CANCEL]), entry.tag)

    def _spend(self, tag: bytes) -> None:
        if tag not in self._spent:
            self._spent.add(tag)
            self._spent_order.append(tag)
            if len(self._spent_order) > SPENT_IDS:
                self._spent.discard(self._spent_order.popleft())

    def _end_lost(self, why: str, on_purpose: bool) -> None:
        """The connection is gone: what left ends, or waits for the next one where it may run twice."""
        outbox = self.outbox
        again = [entry for entry in self.pending if entry.idempotent and entry.tag not in outbox]
        for entry in again:
            entry.resent = True
        self._resent += len(again)
        outbox.restore(again)
        gone = self.pending.take(lambda entry: entry.tag not in outbox or not entry.wait)
        for entry in gone:
            outbox.remove(entry.tag)
        verdict = self.verdicts.closed if on_purpose else self.verdicts.lost
        self._end(gone, lambda entry: verdict(entry, why))

    def _error(self, tag: bytes, record: Record, now: float) -> None:
        code = record[1]
        entry = self.pending.get(tag)
        if entry is None:
            self._late += 1
            return
        if code == Code.NO_SESSION or (code == Code.DRAINING and entry.wait):
            # It has not run: it waits for WELCOME, on this connection or on the successor's.
            if tag not in self.outbox:
                entry.sent = entry.resent
                self.outbox.restore([entry])
            return
        self.pending.pop(tag)
        if code != Code.MALFORMED and STATUSES[record[3]] is not self.status:
            self._status(record[3], now)
        self._end([entry], lambda entry: self.verdicts.from_record(entry, record))

    def _control(self, record: Record, now: float) -> None:
        kind = record[0]
        if kind == Kind.WELCOME:
            self._welcome(record, now)
        elif kind == Kind.PONG:
            if record[1] == self._connection:
                self.liveness.ponged(now)
                self._window.read(record[2], record[3])
        elif kind == Kind.ACK:
            if self.welcomed:
                self._window.read(record[1], record[2])
        elif kind == Kind.PING:
            if record[1] == self._connection:
                # Zero, zero: replies have no window, they are bounded by the requests in flight.
                self.outbox.put_control(self.encoder.pack([Kind.PONG, self._connection, 0, 0]))
        elif kind == Kind.GOODBYE:
            self._goodbye(record[1], record[2])
        else:
            self.ignored += 1

    def _welcome(self, record: Record, now: float) -> None:
        _, version, instance, number, _resumed, status, _name, _interval, window, limits = record
        if number != self._connection or not self._handshaken or self.welcomed or self.is_over:
            self.ignored += 1
            return
        if version != wire.VERSION:
            text = f"the container speaks version {version} of the protocol, this side {wire.VERSION}"
            self.turned_away = Failure(FailureKind.VERSION, text, was_up=True)
            return
        self.welcomed = True
        self._window.open(*window)
        self.message_bytes = min(
            self._limits.message_bytes, limits.get("message_bytes", self._limits.message_bytes)
        )
        self.outbox.batch_records = min(self._limits.batch_records, limits.get("batch_records", 1))
        reconnected, self._was_up = self._was_up, True
        self._reconnects += reconnected
        self.instance = instance
        self.attempts.greeted()
        self._status(status, now)
        self._signal(Signal.WELCOMED)
        self._tell_up("the container said WELCOME", now, reconnected=reconnected)
        self._end_oversized()

    def _end_oversized(self) -> None:
        """Requests that were queued before the container's limit was known."""
        limit = self.message_bytes
        for entry in self.pending.take(lambda entry: not entry.sent and entry.size > limit):
            self.outbox.remove(entry.tag)
            self._failed += 1
            self.ended.append((entry, too_large(entry.what, self.verdicts.whom, entry.size, limit)))

    def _goodbye(self, code: int, text: str) -> None:
        if code == Goodbye.VERSION or code == Goodbye.TOO_MANY_SESSIONS:
            kind = FailureKind.VERSION if code == Goodbye.VERSION else FailureKind.TURNED_AWAY
            self.turned_away = Failure(kind, text, was_up=True)
            return
        self.goodbye = text
        self._signal(Signal.GOODBYE)


def too_large(what: str, whom: str, size: int, limit: int) -> MessageTooLarge:
    """The error for a message that one of the sides does not accept."""
    text = (
        f"{what} to {whom} was not sent: it has {size} bytes, and at most {limit} are accepted;"
        " send less at a time, or raise Limits.message_bytes on both sides"
    )
    return MessageTooLarge(text, size=size, limit=limit)
