"""The engine's half of the protocol: one link to one container, on whatever connections it gets.

The state machine is the table in ``states``. Everything else here decides, synchronously, what follows from a signal:
which requests end and how, what the application is told, what leaves next. Whoever owns the link carries it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...events import LinkClosed, LinkFailed, LinkRetry, StatusChanged
from ...failure import Failure, FailureKind
from ...models import LinkState, Status
from .. import wire
from ..flow.window import SendWindow
from ..health.diagnostics import LinkDiagnostics
from ..health.liveness import Heartbeat
from ..health.redials import RedialCounter
from ..requester.recovery import Resender
from ..requester.tracker import RequestTracker
from ..responder.nested_calls import ASKED
from ..wire.kinds import Code, Goodbye, Kind
from ..wire.records import LINK_TAG, STATUSES, Record
from .downloads import ReplyReassembly
from .notifications import LinkEventSource
from .send_policy import SendPolicy
from .states import REJECTIONS, TRANSITIONS, Signal

if TYPE_CHECKING:
    from uuid import UUID

    from ...config import HeartbeatPolicy, Limits, ReconnectPolicy
    from ...statistics import Statistics
    from ..flow.outbox import OutgoingMessage
    from ..flow.receive_stream import ReceiveStream
    from ..requester.error_factory import RequestErrors
    from ..requester.request_ids import EndedIds
    from ..responder.nested_calls import NestedCallReceiver
    from ..wire.encoder import Encoder
    from ..wire.messages import Message

__all__ = ["Link"]

_BUSY, _RESPONSE = LinkState.BUSY, Kind.RESPONSE  # looking one up in its class takes up to 0.1 us (Python 3.11)


class Link:
    """One link to one container.

    Args:
        error_factory: builds the errors of the link.
        session: the id of the link's session, one for all its connections.
        engine_name: what the worker calls itself.
        encoder: writes the records; links may share one.
        ended_ids: what the links of one worker remember together.
        once: give up when the first dial fails, whatever the policy.
        now: the time.
        nested_calls: takes the calls of the container.

    Attributes:
        downloads: replies that come in parts.
        failure: why the last dial or connection ended.
        event_source: what the application is to be told.
        welcomed: whether the container has said WELCOME on this connection.
        goodbye: why it said GOODBYE on this connection.
        rejection: why it will not say WELCOME on this connection.
        is_handshaken: whether the ZMTP handshake of a connection is done.
        is_running: whether requests can leave now: ALIVE, or BUSY and welcomed. Kept: every request asks (0.1 us).
        is_over: whether the link has ended for good.
    """

    def __init__(
        self,
        error_factory: RequestErrors,
        session: UUID,
        engine_name: str,
        reconnect: ReconnectPolicy,
        heartbeat: HeartbeatPolicy,
        limits: Limits,
        encoder: Encoder,
        ended_ids: EndedIds,
        *,
        once: bool,
        now: float,
        nested_calls: NestedCallReceiver,
    ) -> None:
        self.error_factory = error_factory
        self.encoder = encoder
        self.tracker = RequestTracker(error_factory, limits, ended_ids)
        self.downloads = ReplyReassembly(self.tracker, encoder, limits)
        self.attempts = RedialCounter(reconnect)
        self.heartbeat = Heartbeat(heartbeat, now)
        self.state = LinkState.CONNECTING
        self.diagnostics = error_factory.diagnostics = LinkDiagnostics(self.heartbeat, self.attempts, self.state, now)
        self.status: Status | None = None
        self.instance: UUID | None = None
        self.failure: Failure | None = None
        self.event_source = LinkEventSource(error_factory, self.diagnostics)
        self.welcomed = self.is_handshaken = self.is_running = self.is_over = False
        self.goodbye: str | None = None
        self._is_farewell = False  # whether nothing follows it
        self.rejection: Failure | None = None

        self._session, self._limits, self._once = session, limits, once
        self._greeting = engine_name, heartbeat.interval, limits, nested_calls.limit
        self._connection, self._was_up, self._busy_told, self._window = 0, False, False, SendWindow()
        self.nested_calls = nested_calls
        nested_calls.pending, nested_calls.window = self.tracker.pending, self._window
        self._resender = Resender(self.tracker, limits.in_flight, now)
        self._send_policy = SendPolicy(self.tracker, self._window, self._resender)
        self._reconnects = self.ignored = 0

    # What the application does

    def cancel(self, tag: bytes) -> None:
        """The caller waits no more: the request has ended, and the container is told if it may know of it."""
        if self.tracker.cancel(tag):
            self._resender.cancels.add(tag)
            self._send_cancel(tag)

    def credit(self, tag: bytes, receive_stream: ReceiveStream) -> None:
        """What had come of a stream was read: the container may send more."""
        if self.welcomed:  # else it is told after the next WELCOME
            self.tracker.outbox.put_control(self.encoder.pack(receive_stream.credit_record()), tag)

    def wait(self, tag: bytes, receive_stream: ReceiveStream) -> None:
        """All that had come of a stream was read, and its reader waits for more."""
        self.tracker.receive_budget.wait(tag, receive_stream)
        self._tell_who_waits()

    def reissued(self, tag: bytes) -> None:
        """A caller issues an id that it chose, perhaps again: what was cancelled before under it is so no more."""
        self._resender.cancels.discard(tag)

    def close(self, why: str, now: float) -> None:
        """Ends the link from this side: CANCEL and GOODBYE are queued, what is pending ends."""
        self.diagnostics.now = now
        if self.state is LinkState.CLOSED:
            return
        # One GOODBYE says it all: the container cancels whatever the session still runs.
        self.tracker.end_all(lambda entry: self.error_factory.closed(entry, why))
        self.tracker.outbox.clear()
        if self.welcomed:
            if self.tracker.reply_acks.tags:
                self._acknowledge()
            self.tracker.outbox.put_control(self.encoder.pack([Kind.GOODBYE, Goodbye.CLOSED, why]))
        self._signal(Signal.CLOSED)
        self.event_source.tell(LinkClosed, why, now)

    # What the transport tells

    def on_handshake(self, now: float) -> None:
        """A connection's ZMTP handshake is done: greet."""
        self.diagnostics.now = now
        self._connection += 1
        self.is_handshaken, self.welcomed, self._busy_told = True, False, False
        self.goodbye = self.rejection = None
        self.heartbeat.on_connected(now)
        self._resender.outage.pause(now)
        self._window.open(1, 1)
        self.tracker.outbox.clear_control()
        hello = wire.hello(self._session, self._connection, *self._greeting)
        self.tracker.outbox.put_control(self.encoder.pack(hello))
        # BUSY for the moment until WELCOME comes; an event would be noise before it has taken two intervals.
        self._signal(Signal.HANDSHAKEN)

    def on_connection_ended(self, failure: Failure, now: float) -> None:
        """A dial has failed or a connection is lost. :meth:`judge` then says whether the link goes on."""
        self.diagnostics.now = now
        if self.is_over:
            return
        self.failure = failure
        lost = self.welcomed
        goodbye, self.goodbye = self.goodbye if self._is_farewell else None, None
        self.is_handshaken = self.welcomed = False
        self.tracker.outbox.clear_control()
        if lost:
            self._signal(Signal.LOST)
            self.event_source.down(self.failure, now)
            for tag in self.tracker.on_connection_lost(goodbye or failure.detail, on_purpose=goodbye is not None):
                self._resender.cancels.add(tag)
        else:
            self.attempts.on_dial_failed()
            if self._signal(Signal.LOST) and self._was_up:
                self.event_source.down(self.failure, now)
        self._resender.outage.begin(now)
        self._resender.expire(now, failure.detail)

    def judge(self, now: float) -> None:
        """After one or more dials have ended: does the link go on?"""
        self.diagnostics.now = now
        if self.is_over or self.is_handshaken or self.failure is None:
            return
        if not (self.failure.fatal or (self._once and not self._was_up) or self.attempts.exhausted):
            if self.attempts.failed or not self._was_up:
                self.event_source.tell(LinkRetry, self.failure.detail, now, attempt=self.attempts.failed)
            return
        self._signal(Signal.GAVE_UP)
        self.event_source.tell(LinkFailed, self.failure.detail, now, attempts=self.attempts.failed)
        why = f"its link has FAILED ({self.failure.detail})"
        self.tracker.end_all(lambda entry: self.error_factory.lost(entry, why, over=True))
        self.tracker.outbox.clear()

    def receive(self, message: Message, now: float) -> None:
        """One message of the container, decoded."""
        self.heartbeat.on_received(now)
        self.diagnostics.now = now
        if self.state is _BUSY and self.welcomed:
            self._signal(Signal.HEARD)
            self._busy_told = False
            self.event_source.up("the container answers again", now, self.instance, reconnected=False)
        self.ignored += message.ignored
        if message.fault and self.is_handshaken and not self.welcomed:
            self._reject(message.fault)
        replied = self.tracker.on_response
        for tag, record in message.records:
            kind = record[0]
            if kind == _RESPONSE:
                replied(tag, record)
                if STATUSES[record[1]] is not self.status:
                    self._status(record[1], now)
            elif kind == Kind.CHUNK:
                if (answer := self.tracker.on_chunk(tag, record, message)) is not None:
                    self.tracker.outbox.put_control(self.encoder.pack(answer), tag)
            elif kind == Kind.CREDIT:
                self.tracker.send_streams.on_credit(tag, *record[1:])
            elif kind == Kind.STARTED:
                self.tracker.on_started(tag)
            elif kind == Kind.ERROR:
                if tag != LINK_TAG:
                    self.tracker.on_error(tag, record)
                self._heed(record)
                if STATUSES[record[3]] is not self.status and record[1] != Code.NO_SESSION:
                    self._status(record[3], now)
            elif kind in ASKED and self.welcomed:
                self.ignored += not self.nested_calls.receive(tag, record, message.size // len(message.records))
            else:
                self._control(tag, record, now)
        for tag in message.malformed:
            self.tracker.on_malformed(tag)
        if message.malformed_calls and self.welcomed:
            self.nested_calls.on_malformed(message.malformed_calls)
        if self.tracker.reply_acks.tags and self.tracker.reply_acks.on_message(message.size):
            self._acknowledge()
        if self.tracker.receive_budget.unread:
            self._tell_who_waits()

    def tick(self, now: float) -> Failure | None:
        """Acts on the time: deadlines, heartbeat, silence.

        Call it only after everything that has arrived was given to :meth:`receive`: a worker whose own loop was
        blocked must hear before it judges.

        Returns:
            Why the connection has to be given up, None if it has not.
        """
        self.diagnostics.now = now
        full = self.is_running and not self._window.has_room()
        for tag in self.tracker.expire(
            now, lambda entry, cut: self.error_factory.timed_out(entry, self.state, full, cut)
        ):
            self._send_cancel(tag)
        if self.failure is not None:
            self._resender.expire(now, self.failure.detail)
        if not self.is_handshaken:
            return None
        if self.welcomed and self.heartbeat.is_ping_due(now):
            self.heartbeat.on_ping_sent(now)
            self.tracker.outbox.put_control(self.encoder.pack([Kind.PING, self._connection]))
            self._acknowledge()
        if self.heartbeat.is_stuck(now):
            detail = f"nothing heard for {now - self.heartbeat.last_heard:.1f} s, which is HeartbeatPolicy.stuck_after"
            return Failure(FailureKind.STUCK, detail, was_up=True)
        if self.heartbeat.is_silent(now):
            self._signal(Signal.SILENT)
            if self.state is LinkState.BUSY and not self._busy_told:
                self._busy_told = True
                self.event_source.busy(now - self.heartbeat.last_heard, now)
        return None

    def next_tick(self, now: float) -> float | None:
        """When :meth:`tick` has something to do next; None: not before something else happens."""
        recovery = self._resender
        times = [self.tracker.pending.next_deadline(), recovery.next_try(now), recovery.outage.next_end()]
        if self.is_handshaken:
            times.append(self.heartbeat.next_check(now))
        return min((time for time in times if time is not None), default=None)

    # What leaves

    def next_outgoing(self, now: float) -> OutgoingMessage | None:
        """The next message, marked as sent by :meth:`on_sent`; None: nothing may leave now."""
        tracker = self.tracker
        if not self.is_handshaken or not (tracker.outbox or tracker.send_streams):
            return None
        if self.is_running and tracker.reply_acks.should_piggyback and self._window.has_room():
            self._acknowledge()
        return self._send_policy.next_message(self.state, self.is_running, now)

    def requeue(self, outgoing: OutgoingMessage) -> None:
        """The transport did not take a message: it goes first next time."""
        self._send_policy.requeue(outgoing)

    def on_sent(self, outgoing: OutgoingMessage, now: float) -> None:
        """The transport has taken a message."""
        if self.welcomed:
            self._window.on_sent(outgoing.size)
        self._send_policy.on_sent(outgoing, now)
        if self.tracker.receive_budget.unread:
            self._tell_who_waits()

    def statistics(self) -> Statistics:
        """The counters of this link."""
        return self.tracker.statistics(
            reconnects=self._reconnects, attempts=self.attempts.total, rtt=self.heartbeat.rtt
        )

    # The rest decides

    def _signal(self, signal: Signal) -> bool:
        before = self.state
        self.state = TRANSITIONS.get((before, signal), before)
        self.is_running = self.state is LinkState.ALIVE or (self.state is LinkState.BUSY and self.welcomed)
        self.is_over = self.state is LinkState.FAILED or self.state is LinkState.CLOSED
        if self.is_over or not self.welcomed:
            self.downloads.restart()
        if self.state is not before:
            self.diagnostics.on_state_changed(self.state, signal.value)
        return self.state is not before

    def _status(self, number: int, now: float) -> None:
        previous, self.status = self.status, STATUSES[number]
        if previous is not self.status:
            self.event_source.tell(StatusChanged, "the container says so", now, status=self.status, previous=previous)

    def _send_cancel(self, tag: bytes) -> None:
        self.downloads.drop(tag)
        if self.welcomed:
            self.tracker.outbox.put_control(self.encoder.pack([Kind.CANCEL]), tag)

    def _tell_who_waits(self) -> None:
        """Where too much lies unread, a container only sends on to readers of which it knows that they wait."""
        receive_budget = self.tracker.receive_budget
        if receive_budget.has_news and self.welcomed:
            for tag, receive_stream in receive_budget.wanted(self.tracker.is_known):
                self.tracker.outbox.put_control(self.encoder.pack(receive_stream.credit_record(waits=True)), tag)

    def _acknowledge(self) -> None:
        """Tells the container which replies it need not keep any longer."""
        if self.welcomed and (record := self.tracker.next_ack()) is not None:
            self.tracker.outbox.put_control(self.encoder.pack(record))

    def _heed(self, record: Record) -> None:
        """What an ERROR says of the whole link. Without it, what it sends back would leave again at once."""
        code = record[1]
        if code == Code.DRAINING:
            self._goodbye(Goodbye.DRAINING, record[4])
        elif code == Code.NO_SESSION and self.welcomed:
            self.rejection = Failure(FailureKind.LOST, "the container has given up this connection", was_up=True)

    def _control(self, tag: bytes, record: Record, now: float) -> None:
        kind = record[0]
        if kind == Kind.PART:
            if (message := self.downloads.on_part(tag, record, now)) is not None:
                self.receive(message, now)
        elif kind == Kind.TAKEN:
            self.tracker.outbox.parts.on_taken(record[1])
        elif kind == Kind.WELCOME:
            self._welcome(record, now)
        elif kind == Kind.PONG:
            if record[1] == self._connection:
                self.heartbeat.on_pong(now)
                self._window.on_read(record[2], record[3])
                if self._window.is_read and not self.tracker.outbox.has_controls:
                    self._resender.cancels.clear()
        elif kind == Kind.ACK:
            if self.welcomed:
                self._window.on_read(record[1], record[2])
        elif kind == Kind.PING:
            if record[1] == self._connection:
                # Zero, zero: replies have no window, they are bounded by the requests in flight.
                self.tracker.outbox.put_control(self.encoder.pack([Kind.PONG, self._connection, 0, 0]))
                self._acknowledge()
        elif kind == Kind.MARK:
            self.tracker.outbox.put_control(self.encoder.pack([Kind.ECHO, record[1]]))
        elif kind == Kind.GOODBYE:
            self._goodbye(record[1], record[2])
        else:
            self.ignored += 1

    def _welcome(self, record: Record, now: float) -> None:
        _, version, instance, number, resumed, status, _name, _interval, window, limits = record
        if number != self._connection or not self.is_handshaken or self.welcomed or self.is_over:
            self.ignored += 1
            return
        if version != wire.VERSION:
            text = f"the container speaks version {version} of the protocol, this side {wire.VERSION}"
            self.rejection = Failure(FailureKind.VERSION, text, was_up=True)
            return
        self.welcomed = True
        self.heartbeat.on_welcome(now)
        self._window.open(*window)
        self.tracker.limit_messages(limits.get("message_bytes", self._limits.message_bytes))
        self.tracker.limit_unanswered(limits)
        self.tracker.outbox.accept(limits, self._limits.batch_records)
        self.tracker.send_streams.accept(limits, self._limits.batch_records)
        reconnected, self._was_up = self._was_up, True
        self._reconnects += reconnected
        previous, self.instance = self.instance, instance
        self.attempts.on_welcome()
        self._resender.outage.end()
        self._status(status, now)
        self._signal(Signal.WELCOMED)
        self.event_source.up("the container said WELCOME", now, instance, reconnected=reconnected)
        self.nested_calls.on_welcome(limits, known=resumed and previous == instance)
        if reconnected:
            self._resender.begin(previous != instance, resumed, now)
            for tag in self._resender.cancels:
                self._send_cancel(tag)
            for tag, receive_stream in self.tracker.receive_streams():
                self.credit(tag, receive_stream)
            self._tell_who_waits()

    def _reject(self, fault: str) -> None:
        """A WELCOME has come that cannot be accepted: the container is told, and its connection is of no use."""
        text = f"the WELCOME is not accepted: {fault}"
        self.tracker.outbox.put_control(self.encoder.pack([Kind.GOODBYE, Goodbye.MALFORMED, text]))
        self.rejection = Failure(FailureKind.MALFORMED, text, was_up=True)

    def _goodbye(self, code: int, text: str) -> None:
        text = text[: wire.MAX_TEXT]
        if code in REJECTIONS:
            self.rejection = Failure(REJECTIONS[code], text, was_up=True)
            return
        if not self.welcomed:
            detail = f"the container said GOODBYE in place of WELCOME: {text!r}"
            self.rejection = Failure(FailureKind.LOST, detail, was_up=True)
            return
        self.goodbye = text
        self._is_farewell = code != Goodbye.DRAINING
        self.tracker.hold_back()
        self._signal(Signal.GOODBYE)
