"""The engine's half of the protocol: one link to one container, on whatever connections it gets.

The state machine is the table in ``states``. Everything else here decides, synchronously, what follows from a signal:
which requests end and how, what the application is told, what leaves next. Its driver carries out what it finds in
``effects``, and sends what :meth:`Link.next_outgoing` gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...events import LinkClosed, LinkFailed, LinkRetry, StatusChanged
from ...failure import Failure, FailureKind
from ...models import LinkState, Status
from .. import wire
from ..effects import Disconnect, EndLink, LogState
from ..flow.window import SendWindow
from ..health.diagnostics import LinkDiagnostics
from ..health.liveness import Heartbeat
from ..health.redials import RedialCounter
from ..requester.requester import Requester
from ..requester.submission import Submission
from ..wire.kinds import UNASKED, Code, Goodbye, Kind
from ..wire.records import LINK_TAG, STATUSES, Record
from .allowance import ReceiveAllowance
from .notifications import LinkEventSource
from .send_policy import SendPolicy
from .states import FACTS, REJECTIONS, TRANSITIONS, Phase, Signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from ...config import HeartbeatPolicy, Limits, ReconnectPolicy
    from ...statistics import Statistics
    from ..flow.outbox import OutgoingMessage
    from ..health.load import ContainerLoad
    from ..requester.error_factory import RequestErrors
    from ..requester.request import PendingRequest
    from ..requester.request_ids import EndedIds
    from ..responder.nested_calls import NestedCallReceiver
    from ..wire.encoder import Encoder
    from ..wire.messages import Message

__all__ = ["Link"]

_RESPONSE: Final = Kind.RESPONSE  # looking it up in its class takes up to 0.1 us (Python 3.11)


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
        effects: what is to be done.
        state: what the application is told of the link.
        is_handshaken: whether the ZMTP handshake of a connection is done.
        welcomed: whether the container has said WELCOME on this connection.
        is_running: whether requests can leave now: ALIVE, or BUSY and welcomed. Kept: every request asks (0.1 us).
        is_over: whether the link has ended for good.
        once: whether the first dial was to be the only one, because the application waits for it.
        submission: takes requests.
        outbox: the requests that wait to leave.
        requester: ends them, and tells the container of it.
        failure: why the last dial or connection ended.
        goodbye: why the container said GOODBYE on this connection.
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
        self.effects = effects = nested_calls.effects
        self.error_factory = error_factory
        self.requester = Requester(error_factory, limits, ended_ids, encoder, effects)
        self.tracker = self.requester.tracker
        self.outbox = self.tracker.outbox
        self.submission = Submission(self.requester, self._refusal, reconnect.lost_after)
        self.attempts = RedialCounter(reconnect)
        self.heartbeat = Heartbeat(heartbeat, now)
        self._phase = Phase.DIALING
        self.state, self.is_handshaken, self.welcomed = FACTS[self._phase]
        self.is_running = self.is_over = False
        self.requester.is_open = self.requester.is_running = False
        self.diagnostics = error_factory.diagnostics = LinkDiagnostics(self.heartbeat, self.attempts, self.state, now)
        self.status: Status | None = None
        self.instance: UUID | None = None
        self.failure: Failure | None = None
        self._event_source = LinkEventSource(error_factory, self.diagnostics, effects)
        self.goodbye: str | None = None
        self._is_farewell = False  # whether nothing follows it
        self._is_rejected = False  # whether this connection is to end

        self._limits, self.once = limits, once
        self._greeting = session, engine_name, heartbeat.interval, nested_calls.limit
        self._connection, self._was_up, self._window = 0, False, SendWindow()
        self.nested_calls = nested_calls
        nested_calls.attach(self.tracker.pending, self._window)
        self._send_policy = SendPolicy(self.requester, self._window, limits.in_flight, now)
        self._allowance = ReceiveAllowance(self.requester, nested_calls, limits.in_flight)
        self.ignored = 0

    # What the application does

    def close(self, why: str, now: float) -> None:
        """Ends the link from this side: CANCEL and GOODBYE are queued, what is pending ends."""
        self.diagnostics.now = now
        if self.state is LinkState.CLOSED:
            return
        # One GOODBYE says it all: the container cancels whatever the session still runs.
        self.tracker.end_all(lambda entry: self.error_factory.closed(entry, why))
        self.outbox.clear()
        if self.welcomed:
            if self.tracker.reply_acks.tags:
                self.requester.acknowledge()
            self._send_control([Kind.GOODBYE, Goodbye.CLOSED, why])
        self._signal(Signal.CLOSED)
        self._event_source.tell(LinkClosed, why, now)
        self.effects.append(EndLink())

    # What the transport tells

    def on_handshake(self, now: float) -> None:
        """A connection's ZMTP handshake is done: greet."""
        self.diagnostics.now = now
        self._connection += 1
        self._is_rejected, self.goodbye = False, None
        self._event_source.on_heard()
        self.heartbeat.on_connected(now)
        self._allowance.restart()
        self.requester.outage.pause(now)
        self._window.open(1, 1)
        self.outbox.clear_control()
        session, engine_name, interval, calls = self._greeting
        self._send_control(wire.hello(session, self._connection, engine_name, interval, self._limits, calls))
        # BUSY for the moment until WELCOME comes; an event would be noise before it has taken two intervals.
        self._signal(Signal.HANDSHAKEN)

    def on_doubt(self) -> None:
        """The connection may have ended. A PING that cannot be sent shows it; a container that lives answers."""
        if self.is_handshaken:
            self._send_control([Kind.PING, self._connection])

    def on_connection_ended(self, failure: Failure, now: float) -> None:
        """A dial has failed or a connection is lost. :meth:`judge` then says whether the link goes on."""
        self.diagnostics.now = now
        if self.is_over:
            return
        self.failure = failure
        was_welcomed = self.welcomed
        goodbye, self.goodbye = self.goodbye if self._is_farewell else None, None
        self.outbox.clear_control()
        self._is_rejected = False
        if was_welcomed:
            has_news = self._signal(Signal.LOST)
            for tag in self.tracker.on_connection_lost(failure, goodbye):
                self.requester.cancels.add(tag)
        else:
            self.attempts.on_dial_failed()
            has_news = self._signal(Signal.LOST) and self._was_up
        self.requester.outage.begin(now)
        self.requester.give_up(now, failure.detail)
        if has_news:
            self._event_source.down(failure, now)

    def judge(self, now: float) -> None:
        """After one or more dials have ended: does the link go on?"""
        self.diagnostics.now = now
        if self.is_over or self.is_handshaken or self.failure is None:
            return
        if not (self.failure.fatal or (self.once and not self._was_up) or self.attempts.exhausted):
            if self.attempts.failed or not self._was_up:
                self._event_source.tell(LinkRetry, self.failure.detail, now, attempt=self.attempts.failed)
            return
        self._signal(Signal.GAVE_UP)
        why = f"its link has FAILED ({self.failure.detail})"
        self.tracker.end_all(lambda entry: self.error_factory.lost(entry, why, over=True))
        self.outbox.clear()
        self._event_source.tell(LinkFailed, self.failure.detail, now, attempts=self.attempts.failed)
        self.effects.append(EndLink())

    def on_redial(self, now: float) -> bool:
        """A fresh dial is about to be scheduled. Returns whether it may leave promptly."""
        return self.attempts.on_redial(now)

    def on_burst(self, count: int, reading: float | None) -> bool:
        """So many messages have come together.

        Args:
            count: how many.
            reading: the time by a finer clock, for round trips; None: there is none.

        Returns:
            False: it is a flood; they are not to be read.
        """
        self.heartbeat.reading = reading
        return self._allowance.on_burst(count)

    def count_asked_for(self) -> int:
        """Chunks of streams and parts of replies that have come, and that the container could send, in all."""
        return self._allowance.count_asked_for()

    def receive(self, message: Message, now: float) -> None:
        """One message of the container, decoded."""
        self.heartbeat.on_received(now)
        self.diagnostics.now = now
        if self._phase is _SILENT:
            self._signal(Signal.HEARD)
            self._event_source.on_heard()
            self._event_source.up("the container answers again", now, self.instance, reconnected=False)
        self.ignored += message.ignored
        if message.fault and self.is_handshaken and not self.welcomed:
            self._reject(message.fault)
        replied = self.tracker.on_response
        for tag, record in message.records:
            if record[0] == _RESPONSE:
                replied(tag, record)
                if STATUSES[record[1]] is not self.status:
                    self._status(record[1], now)
            elif (handle := _ON_RECORD.get(record[0])) is not None:
                handle(self, tag, record, message, now)
            else:
                self.ignored += not self.requester.receive(tag, record, message)
        for tag in message.malformed:
            self.tracker.on_malformed(tag)
        if message.malformed_calls and self.welcomed:
            self.nested_calls.on_malformed(message.malformed_calls)
        self.requester.on_message(message.size)

    def on_timer(self, now: float, lag: float) -> None:
        """A timer has fired, so many seconds later than it should have: this side's own event loop was blocked."""
        self.diagnostics.now = now
        self.diagnostics.record_lag(lag)

    def tick(self, now: float, reading: float | None = None) -> None:
        """Acts on the time: deadlines, heartbeat, silence.

        Call it only after everything that has arrived was given to :meth:`receive`: a worker whose own loop was
        blocked must hear before it judges.

        Args:
            now: the time.
            reading: the time by a finer clock, for round trips; None: there is none.
        """
        self.diagnostics.now = now
        self.heartbeat.reading = reading
        full = self.is_running and not self._window.has_room()
        self.requester.expire(now, lambda entry, cut: self.error_factory.timed_out(entry, self.state, full, cut))
        if self.failure is not None:
            self.requester.give_up(now, self.failure.detail)
        if not self.is_handshaken:
            return
        if self.welcomed and self.heartbeat.is_ping_due(now):
            self.heartbeat.on_ping_sent(now)
            self._send_control([Kind.PING, self._connection])
            self.requester.acknowledge()
        if self.heartbeat.is_stuck(now):
            detail = f"nothing heard for {now - self.heartbeat.last_heard:.1f} s, which is HeartbeatPolicy.stuck_after"
            self._disconnect(FailureKind.STUCK, detail)
        elif self.heartbeat.is_silent(now):
            self._signal(Signal.SILENT)
            if self.state is LinkState.BUSY:
                self._event_source.busy(now - self.heartbeat.last_heard, now)

    def next_tick(self, now: float) -> float | None:
        """When :meth:`tick` has something to do next; None: not before something else happens."""
        outage = self.requester.outage
        times = [self.tracker.pending.next_deadline(), self._send_policy.next_try(now), outage.next_end()]
        if self.is_handshaken:
            times.append(self.heartbeat.next_check(now))
        return min((time for time in times if time is not None), default=None)

    @property
    def whom(self) -> str:
        """The container, as errors name it."""
        return self.error_factory.whom

    @property
    def load(self) -> ContainerLoad:
        """How much the container does, as far as it has told."""
        return self.diagnostics.load

    @property
    def in_flight(self) -> int:
        """How many requests have not ended."""
        return len(self.tracker.pending)

    # What leaves

    def next_outgoing(self, now: float) -> OutgoingMessage | None:
        """The next message, marked as sent by :meth:`on_sent`; None: nothing may leave now."""
        if not self.is_handshaken:
            return None
        if self.nested_calls.was_asked and self.welcomed:
            outgoing = self.nested_calls.next_outgoing(now)
            if outgoing is not None:
                return outgoing
        tracker = self.tracker
        if not (tracker.outbox or tracker.send_streams):
            return None
        if self.is_running and tracker.reply_acks.should_piggyback and self._window.has_room():
            self.requester.acknowledge()
        return self._send_policy.next_message(self.state, self.is_running, now)

    def on_sent(self, outgoing: OutgoingMessage, now: float) -> None:
        """The transport has taken a message."""
        self.diagnostics.traffic.sent_bytes += outgoing.size
        if self.welcomed:
            self._window.on_sent(outgoing.size)
        if outgoing.origin is self.nested_calls.outbox:
            return
        self._send_policy.on_sent(outgoing, now)
        self._allowance.on_sent(len(outgoing.items))
        if self.tracker.receive_budget.unread:
            self.requester.tell_who_waits()

    def statistics(self) -> Statistics:
        """The counters of this link."""
        attempts, traffic = self.attempts, self.diagnostics.traffic.counters()
        facts = {"reconnects": attempts.reconnects, "attempts": attempts.total, "rtt": self.heartbeat.rtt}
        return self.tracker.statistics(**facts, **traffic)

    # The rest decides

    def _signal(self, signal: Signal) -> bool:
        before, requester = self.state, self.requester
        self._phase = TRANSITIONS.get((self._phase, signal), self._phase)
        self.state, self.is_handshaken, self.welcomed = FACTS[self._phase]
        self.is_running = self._phase is Phase.ALIVE or self._phase is Phase.SILENT
        self.is_over = self.state is LinkState.FAILED or self.state is LinkState.CLOSED
        requester.is_open, requester.is_running = self.welcomed, self.is_running
        self.nested_calls.connected = self.welcomed
        requester.is_closed = self.state is LinkState.CLOSED
        if self.is_over or not self.welcomed:
            requester.reassembly.restart()
        if self.state is before:
            return False
        self.diagnostics.on_state_changed(self.state, signal.value)
        self.effects.append(LogState(self.whom, self.state, signal.value))
        return True

    def _refusal(self, entry: PendingRequest) -> Exception | None:
        """Why the link will not take a request, however long it waits; None: it may."""
        if self.is_over:
            failed = self.failure is not None and self.state is LinkState.FAILED
            why = f"its link is {self.state}" + (f" ({self.failure.detail})" if failed and self.failure else "")
            return self.error_factory.not_connected(entry, why, over=True)
        if entry.may_wait:
            return None
        if self.state is LinkState.DRAINING:
            return self.error_factory.draining(entry)
        if not self.is_running:
            return self.error_factory.not_connected(entry, f"its link is {self.state}")
        if not self.tracker.has_room(entry.size, entry.buffers):
            return self.error_factory.overloaded(entry, len(self.tracker.pending))
        return None

    def _send_control(self, record: Record, tag: bytes = LINK_TAG) -> None:
        self.outbox.put_control(self.requester.encoder.pack(record), tag)

    def _status(self, number: int, now: float) -> None:
        previous, self.status = self.status, STATUSES[number]
        if previous is not self.status:
            self._event_source.tell(StatusChanged, "the container says so", now, status=self.status, previous=previous)

    # One method for each kind of record, all with the same arguments

    def _on_error(self, tag: bytes, record: Record, message: Message, now: float) -> None:
        if tag != LINK_TAG:
            self.tracker.on_error(tag, record)
        # What it says of the whole link. Without it, what it sends back would leave again at once.
        code = record[1]
        if code == Code.DRAINING:
            self._goodbye(Goodbye.DRAINING, record[4])
        elif code == Code.NO_SESSION and self.welcomed:
            self._disconnect(FailureKind.LOST, "the container has given up this connection")
        if STATUSES[record[3]] is not self.status and code != Code.NO_SESSION:
            self._status(record[3], now)

    def _on_call(self, tag: bytes, record: Record, message: Message, now: float) -> None:
        share = message.size // len(message.records)
        self.ignored += not (self.welcomed and self.nested_calls.receive(tag, record, share))

    def _on_part(self, tag: bytes, record: Record, message: Message, now: float) -> None:
        if (whole := self.requester.reassembly.on_part(tag, record, now)) is not None:
            self.receive(whole, now)

    def _on_pong(self, tag: bytes, record: Record, message: Message, now: float) -> None:
        _, number, messages, size, *load = record
        if number not in (UNASKED, self._connection) or not self.welcomed:
            self.ignored += 1
            return
        self._window.on_read(messages, size)
        if load:
            if STATUSES[load[0]] is not self.status:
                self._status(load[0], now)
            self.load.on_told(load[1], load[2], self.in_flight)
        if number == self._connection:
            self.heartbeat.on_pong(now)
            if self._window.is_read and not self.outbox.has_controls:
                self.requester.cancels.clear()

    def _on_ping(self, tag: bytes, record: Record, message: Message, now: float) -> None:
        if self.welcomed:
            # Zero, zero: replies have no window, they are bounded by the requests in flight.
            self._send_control([Kind.PONG, record[1], 0, 0])
            self.requester.acknowledge()

    def _on_goodbye(self, tag: bytes, record: Record, message: Message, now: float) -> None:
        self._goodbye(record[1], record[2])

    def _on_welcome(self, tag: bytes, record: Record, message: Message, now: float) -> None:
        _, version, instance, number, resumed, status, _name, _interval, window, limits = record
        if number != self._connection or not self.is_handshaken or self.welcomed or self.is_over:
            self.ignored += 1
            return
        if version != wire.VERSION:
            text = f"the container speaks version {version} of the protocol, this side {wire.VERSION}"
            self._disconnect(FailureKind.VERSION, text)
            return
        self._signal(Signal.WELCOMED)
        self.heartbeat.on_welcome(now)
        self._window.open(*window)
        self.tracker.limit_messages(limits.get("message_bytes", self._limits.message_bytes))
        self.tracker.limit_unanswered(limits)
        self.outbox.accept(limits, self._limits.batch_records)
        self.tracker.send_streams.accept(limits, self._limits.batch_records)
        reconnected, self._was_up = self._was_up, True
        previous, self.instance = self.instance, instance
        if previous != instance:
            self.load.on_told(0, 0, 0)  # that was another process
        self.attempts.on_welcome(reconnected=reconnected)
        self.requester.outage.end()
        self._status(status, now)
        self._event_source.up("the container said WELCOME", now, instance, reconnected=reconnected)
        self.nested_calls.on_welcome(limits, known=resumed and previous == instance)
        if reconnected:
            self._send_policy.on_reconnected(previous != instance, resumed, now)
            self.requester.on_reconnected()

    def _reject(self, fault: str) -> None:
        """A WELCOME has come that cannot be accepted: the container is told, and its connection is of no use."""
        text = f"the WELCOME is not accepted: {fault}"
        self._send_control([Kind.GOODBYE, Goodbye.MALFORMED, text])
        self._disconnect(FailureKind.MALFORMED, text)

    def _disconnect(self, kind: FailureKind, text: str) -> None:
        """This connection is of no use, and ends before anything else is done: what was sent back would leave again."""
        if not self._is_rejected:
            self._is_rejected = True
            self.effects.appendleft(Disconnect(Failure(kind, text, was_up=True)))

    def _goodbye(self, code: int, text: str) -> None:
        text = text[: wire.MAX_TEXT]
        if code in REJECTIONS:
            self._disconnect(REJECTIONS[code], text)
            return
        if not self.welcomed:
            detail = f"the container said GOODBYE in place of WELCOME: {text!r}"
            self._disconnect(FailureKind.LOST, detail)
            return
        self.goodbye = text
        self._is_farewell = code != Goodbye.DRAINING
        self.tracker.hold_back()
        self._signal(Signal.GOODBYE)


_SILENT: Final = Phase.SILENT
_ON_RECORD: dict[int, Callable[[Link, bytes, Record, Message, float], None]] = {
    Kind.WELCOME: Link._on_welcome,
    Kind.ERROR: Link._on_error,
    Kind.REQUEST: Link._on_call,
    Kind.CANCEL: Link._on_call,
    Kind.RECEIVED: Link._on_call,
    Kind.PART: Link._on_part,
    Kind.PING: Link._on_ping,
    Kind.PONG: Link._on_pong,
    Kind.GOODBYE: Link._on_goodbye,
}
"""What each kind of record does that speaks of the link, or of a call of the container."""
