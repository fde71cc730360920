"""The container's half of the protocol: the session of one engine, on whatever connections it gets."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final
from uuid import UUID

from ...errors import ConnectionLost
from ...models import Executed
from ..effects import GiveUpEngines, LogState, WakeStreams
from ..flow.outbox import OutgoingMessage, QueuedRecord
from ..flow.read_probe import ReadProbe
from ..flow.reassembler import Reassembler
from ..flow.receive_stream import OversizeItemLimit
from ..flow.window import ReceiveWindow
from ..requester.nested_calls import GONE, NestedCalls
from ..responder.reply_cache import NOT_KEPT_TEXT, Reply
from ..responder.responder import Responder
from ..responder.session_state import SESSION_TRANSITIONS, SLOW_FACTOR, SessionSignal, SessionState
from ..wire.kinds import Code, Kind
from ..wire.records import STATUS_NUMBER

if TYPE_CHECKING:
    from ...config import Limits
    from ..effect_queue import EffectQueue
    from ..responder.reply_cache import ReplyBudget
    from ..responder.responder import HandlerHost
    from ..wire.records import Record

__all__ = ["UNREAD", "EngineSession", "Session"]

_CONNECTED: Final = SessionState.CONNECTED
_CLOSED: Final = SessionState.CLOSED
"""Names of the module: looking a member up in its enum takes 0.1 us (Python 3.11), and every reply asks."""

Session = tuple[str | None, UUID]
"""The public key of an engine (None: there is no security), and the id that it has chosen for its session."""


MAX_OLD_ROUTES = 8
"""How many connections that were superseded are remembered, to drop what still arrives from them."""


MAX_NAME = 256
"""Characters of what an engine calls itself that are kept: sessions outlive their connections, and may be many."""


UNREAD = "did not read its replies"


class EngineSession(Responder):
    """One engine, as the container knows it.

    Args:
        session: the id of the engine's session, and whom the container has authenticated: one user's session is never
            another's, whatever it says.
        host: the container.
        limits: its bounds.
        effects: takes what is to be done.
        room: what all sessions keep of their answers together.

    Attributes:
        session: as above.
        route: the routing id of its newest connection; replies go there only.
        reassembler: what comes from it in parts.
        oversize_limit: which of its streams of data holds an item beyond its credit.
        heard_at: when it was last heard.
        stalled_since: when its connection took no message for the first time since it took one; None: it takes them.
        max_calls: how many calls of the container's handlers it takes at once; 0: it knows no calls.
        has_sent: whether a reply, or word of a drain, has left since the last PING: only a PONG shows that it was read.
    """

    def __init__(
        self, session: Session, host: HandlerHost, limits: Limits, effects: EffectQueue, room: ReplyBudget
    ) -> None:
        super().__init__(host, limits, effects, room)
        self.session = session
        self.state = SessionState.DETACHED
        self.route = b""
        self.max_calls = 0
        self.reassembler = Reassembler(limits.message_bytes)
        self.oversize_limit = OversizeItemLimit()
        self.has_sent = False
        self.stalled_since: float | None = None
        self._interval = self.heard_at = self._pinged_at = 0.0
        self._asked = 0  # the number of the last PING that asks for a sign of life
        self._counted = 0  # of what waits, when it was counted last
        self._read_probe = ReadProbe(limits.window, limits.queued_bytes, limits.message_bytes)
        self._old_routes: deque[bytes] = deque()
        self._reads = ReceiveWindow(limits.window, limits.queued_bytes)

    def signal(self, signal: SessionSignal) -> None:
        """Something has happened to the session."""
        before, self.state = self.state, SESSION_TRANSITIONS.get((self.state, signal), self.state)
        if self.state is not before:
            self._effects.append(LogState(f"engine {self.name!r}", self.state.name, signal.value))
        self.connected = self.state is SessionState.CONNECTED

    def on_hello(self, route: bytes, hello: Record, now: float) -> list[bytes]:
        """A HELLO with a newer connection number: this connection supersedes the older ones.

        Returns:
            Routes too old to be remembered any longer.
        """
        _, _, _, self.number, name, interval, limits = hello
        self.name = name[:MAX_NAME]
        # A connection that is gone is only found by asking: nobody is left alone for ever, whatever it says.
        self._interval = min(interval, self._limits.reply_ttl)
        if self.route and self.route != route:
            self._old_routes.append(self.route)
        self.route = route
        self.message_bytes = min(self._limits.message_bytes, limits.get("message_bytes", self._limits.message_bytes))
        self.outbox.accept(limits, self._limits.batch_records)
        self.outbox.clear_control()
        self.send_streams.accept(limits, self._limits.batch_records)
        self._break_streams()
        self.reassembler.restart()
        self._reads = ReceiveWindow(self._limits.window, self._limits.queued_bytes)
        self.heard_at = self._pinged_at = now
        self._read_probe.restart()
        self.stalled_since = None
        # It will ask again for what it has not got.
        self.has_sent = True
        self.max_calls = limits.get("calls", 0)
        if self.caller is not None:
            self.caller.on_hello(self.message_bytes, limits)
        self.signal(SessionSignal.HELLO)
        return [self._old_routes.popleft() for _ in range(len(self._old_routes) - MAX_OLD_ROUTES)]

    @property
    def routes(self) -> list[bytes]:
        """All routes that are remembered."""
        return [*self._old_routes, self.route]

    def on_received(self, size: int, now: float) -> bool:
        """A message of ``size`` bytes was read from the engine's connection.

        Returns:
            Whether the engine has to hear soon how much was read, or its window closes.
        """
        self.heard_at = now
        reads = self._reads
        reads.on_read(size)
        return reads.is_report_due or self._read_probe.has_received_much(reads)

    @property
    def violates_window(self) -> bool:
        """Whether the engine sends more than its window allows: it does not read what it is told."""
        return self._read_probe.violates_window(self._reads)

    def send_pong(self, number: int) -> None:
        """Answers a PING, in the next message: of several that were read together, the last one."""
        self._reads.asked = number
        self._host.writable[self] = None

    def reply(self, item: QueuedRecord) -> int:
        """Answer a request. Returns how many bytes wait to leave now; 0: it is kept, or nobody waits."""
        state = self.state
        if state is _CLOSED:
            self.replies.count_late()
            return 0
        if isinstance(item, Reply):
            self.replies.keep(item)
        if state is not _CONNECTED:
            return 0  # it will ask again
        if self.stalled_since is not None and not self.has_room(item.size):
            error = self._host.error_record(Code.NOT_KEPT, Executed.YES, NOT_KEPT_TEXT)
            item = QueuedRecord(item.tag, self._host.encoder.pack(error))
            if self.is_overflowing:
                self._effects.add(GiveUpEngines, (self, UNREAD))
                return 0
        outbox = self.outbox
        outbox.put(item)
        self._host.writable[self] = None
        return outbox.corked or 1

    def has_room(self, size: int) -> bool:
        """Whether a reply of this size may wait, too, while the connection takes nothing."""
        return not len(self.outbox) or self._waiting + size <= SLOW_FACTOR * self._limits.queued_bytes

    @property
    def is_overflowing(self) -> bool:
        """Whether even the small answers, in place of those that had no room, have become too many."""
        return self._waiting > (SLOW_FACTOR + 1) * self._limits.queued_bytes

    def is_unresponsive(self, since: float) -> bool:
        """Whether too much waits, and the connection has taken nothing since a time: a slow one takes something."""
        stalled = self.stalled_since is not None and self.stalled_since <= since
        return stalled and self.outbox.waiting > self._limits.queued_bytes

    @property
    def waiting(self) -> int:
        """Bytes that wait for the engine: replies, calls, and items of streams."""
        calls = 0 if self.caller is None else self.caller.waiting_bytes
        return self.outbox.waiting + self.send_streams.budget.cost + calls

    @property
    def waits_for_much(self) -> bool:
        """Whether that is more than one thing, which may be of any size."""
        calls = 0 if self.caller is None else self.caller.waiting
        return len(self.outbox) + self.send_streams.kept_items + calls > 1

    @property
    def has_backlog(self) -> bool:
        """Whether anything waits, or did when that was counted last: nearly always nothing."""
        outbox = self.outbox
        return bool(
            self._counted
            or outbox.bytes
            or outbox.large_bytes
            or outbox.parts.item is not None
            or self.send_streams.budget.cost
            or self.caller is not None
        )

    def growth(self) -> int:
        """How many bytes more wait for the engine than when this was asked last."""
        self.send_streams.budget.count()
        waiting = self.waiting
        growth, self._counted = waiting - self._counted, waiting
        return growth

    @property
    def _waiting(self) -> int:
        """Bytes that wait, but for those of what is on its way in parts."""
        return self.outbox.bytes + self.outbox.large_bytes

    def is_ping_due(self, now: float) -> bool:
        """Whether the engine was silent for two of its own intervals: it should have sent a PING."""
        return self.state is SessionState.CONNECTED and now - max(self.heard_at, self._pinged_at) >= 2 * self._interval

    def is_over(self, before: float) -> bool:
        """Whether the connection is gone, nothing runs or is kept, and the engine was not heard since a time."""
        return self.state is SessionState.DETACHED and not (self.in_flight or self.replies) and self.heard_at < before

    def send_ping(self, now: float) -> None:
        """Asks for a sign of life; a connection that is gone does not take it."""
        self._pinged_at = now
        if self.has_sent or not self._read_probe.is_unanswered(self._asked):
            # Else nothing was sent since that has to be read: an engine that is silent for days costs no memory.
            self._asked = self._read_probe.next_ping(self._reads)
        self.has_sent = False
        self.control([Kind.PING, self._asked])

    @property
    def has_read_all(self) -> bool:
        """Whether the engine is known to have every reply that it may ask for."""
        if self.state is SessionState.DETACHED:
            return not self.replies.has_unsettled
        return not (self.outbox or self.has_sent or self._read_probe.is_unanswered(self._asked))

    @property
    def should_be_asked(self) -> bool:
        """Whether only a PING can show that the engine has every reply."""
        is_asked = self._read_probe.is_unanswered(self._asked)
        return self.state is SessionState.CONNECTED and self.has_sent and not (self.outbox or is_asked)

    def close_receive_stream(self, tag: bytes) -> None:
        """Its handler has ended."""
        self.oversize_limit.release(self.receive_streams[tag])
        self.reassembler.forget(tag)  # an item of it, in parts
        super().close_receive_stream(tag)

    def _break_streams(self) -> None:
        """The connection has ended: data that came piece by piece ends with it, results wait for the next one."""
        for tag, receive_stream in self.receive_streams.items():
            failure = receive_stream.abort(ConnectionLost, f"the connection to engine {self.name!r} was lost")
            if failure is not None:
                self._effects.add(WakeStreams, receive_stream.waker)
                self.oversize_limit.release(receive_stream)
                self.send_streams.fail(tag, failure)
        self.send_streams.on_connection_lost()

    def on_sent(self, outgoing: OutgoingMessage) -> bool:
        """The transport has taken a message.

        Returns:
            Whether anything may follow it at once. Nearly always nothing does: asking for the next message costs more.
        """
        may_ask = self._read_probe.on_sent(outgoing.size)
        if outgoing.part:
            outgoing.origin.on_sent(outgoing)
        if self.stalled_since is not None and not (self._read_probe.is_held_back or self.outbox.parts.is_held_back):
            self.stalled_since = None
        if outgoing.items:
            self.has_sent = True
            if self.caller is not None and outgoing.origin is not self.outbox:
                self.caller.on_sent(outgoing)
        return may_ask or self.caller is not None or bool(self.outbox) or bool(self.send_streams)

    def parent_of(self, tag: bytes) -> UUID | None:
        """The request inside which another was made: an engine's stands by itself."""
        return None

    def on_taken(self, size: int) -> None:
        """The engine has read ``size`` bytes of parts."""
        if self.outbox.parts.on_taken(size):
            self.stalled_since = None

    def on_pong(self, number: int) -> bool:
        """The engine has read everything that was sent before a PING; False: none with that number waits for it."""
        if not self._read_probe.on_pong(number):
            return False
        self.stalled_since = None
        return True

    def open_caller(self) -> NestedCalls:
        """The calls to the engine: they begin with the first."""
        if self.caller is None:
            self.caller = NestedCalls(
                self.session[1],
                self.name,
                self._limits,
                self.max_calls,
                self._host.encoder,
                self._effects,
                self.outbox,
                self.message_bytes,
            )
            if self.state is SessionState.CLOSED:
                self.caller.close(GONE)
        return self.caller

    def on_refused(self, now: float) -> None:
        """The connection takes nothing now."""
        if self.stalled_since is None:
            self.stalled_since = now

    def close_heavy_streams(self) -> list[bytes]:
        """Closes the streams of results that keep as much as the average, or more; returns their tags."""
        return self.send_streams.close_heavy()

    def detach(self, now: float) -> None:
        """The connection is gone: what has not left is in ``replies``, if it has to be kept at all."""
        self.signal(SessionSignal.UNREACHABLE)
        if self.caller is not None:
            self.caller.on_connection_lost(now)
        self.outbox.clear()
        self._break_streams()
        self.reassembler.restart()

    def next_outgoing(self, now: float) -> OutgoingMessage | None:
        """The next message for the engine; None: nothing waits, or there is no connection."""
        if self.state is not SessionState.CONNECTED:
            return None
        if self._reads.asked or (self._reads.is_report_due and not self.outbox.has_control(Kind.PONG)):
            self._put_control(self._pong())  # where one waits already, it tells nearly as much
        if self._read_probe.is_due(self._reads) and not self.outbox.has_control(Kind.PING):
            self._put_control([Kind.PING, self._read_probe.next_ping(self._reads)])
        if self._read_probe.is_held_back:
            if self.stalled_since is None and len(self.outbox):
                self.stalled_since = now
            return self.outbox.next_message(now, max_items=0)
        outgoing = self.outbox.next_message(now)
        if outgoing is None and self.caller is not None:
            outgoing = self.caller.next_outgoing(now)
        if outgoing is None and self.send_streams:
            outgoing = self.send_streams.next_message(now)
        if outgoing is None and self.stalled_since is None and self.outbox.parts.is_held_back:
            self.stalled_since = now
        return outgoing

    def _pong(self) -> Record:
        """How much was read, and how busy the container is: made as it leaves, so what came with PING is in it."""
        number = self._reads.asked
        self._reads.on_reported()
        load = self._host.load()
        return [Kind.PONG, number, self._reads.messages, self._reads.bytes, STATUS_NUMBER[self._host.status], *load]

    def _put_control(self, record: Record) -> None:
        """For a message that is being put together."""
        self.outbox.put_control(self._host.encoder.pack(record))
