"""Who is connected to a container: greetings, supersession, and the rule that nothing runs before HELLO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...models import Executed
from .. import wire
from ..effect_queue import EffectQueue
from ..effects import CutConnections, GiveUpEngines, LogRejection, NotifyConnection, WakeStreams
from ..flow.outbox import QueuedRecord
from ..flow.reassembler import FragmentResult
from ..responder.reply_cache import ReplyBudget
from ..responder.responder import HandlerHost
from ..responder.session_state import SessionSignal, SessionState
from ..wire.encoder import Encoder
from ..wire.kinds import Code, Goodbye, Kind
from ..wire.records import LINK_TAG, Frames, Record
from .presence import Presence
from .request_reassembly import REFUSED, RequestReassembly
from .session import UNREAD, EngineSession, Session
from .sessionless import SessionlessConnections
from .violations import BAD_CHUNK, HEEDLESS, REFUSED_ITEM, WITHOUT_SESSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from ...config import Limits
    from ...security.allow_list import User
    from ..requester.nested_calls import NestedCallDriver
    from ..responder.batch import RequestBatch
    from ..wire.messages import Message

__all__ = ["SessionTable"]

_OF_ITS_CONNECTION = frozenset({Kind.CHUNK, Kind.CREDIT, Kind.PART, Kind.TAKEN, Kind.PING, Kind.PONG})
"""What speaks of the connection that it has come on. Where that is gone, it is old when it is read: a CREDIT would let
a stream go on where the engine was then, and the next connection begins anew with all of them."""


class SessionTable(HandlerHost):
    """All engines that a container knows.

    Attributes:
        instance: the id of this incarnation of the container.
        presence: which of them are connected, and since when the others are not.
        uploads: requests that come in parts.
        sessionless: connections that have no session, and what they are told.
        effects: what is to be done.
        is_running: whether a request of an engine has not ended. Whoever runs requests sets it.
        calls: carries out the calls of handlers to their engines; the protocol only keeps it.
        ignored: messages and records that meant nothing.
    """

    def __init__(
        self,
        instance: UUID,
        name: str,
        interval: float,
        limits: Limits,
        carried: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(Encoder(limits, carried))
        self.instance = instance
        self.sessionless = SessionlessConnections(limits)
        self.effects = EffectQueue()
        self.calls: NestedCallDriver | None = None
        self.ignored = 0
        self._name = name
        self._interval = interval
        self._limits = limits
        self._room = ReplyBudget(limits)
        self.is_running: Callable[[EngineSession, bytes], bool] = lambda peer, tag: False
        self.uploads = RequestReassembly(
            limits,
            self._pack_error,
            lambda peer, tag: self.is_running(peer, tag),
        )
        self._peers: dict[Session, EngineSession] = {}
        self._by_route: dict[bytes, EngineSession] = {}
        self.presence = Presence(self.effects)

    def take_sessionless(self) -> list[tuple[bytes, Frames]]:
        """What connections without a session are told now, each by its route."""
        return self.sessionless.take()

    def next_writable(self) -> EngineSession | None:
        """One for whom something waits to leave, and who is looked at now; None: there is none."""
        return self.writable.popitem()[0] if self.writable else None

    def all(self) -> list[EngineSession]:
        """The engines that are known, connected or not."""
        return list(self._peers.values())

    @property
    def undeliverable(self) -> int:
        """How many replies ended with their sessions, and no engine has acknowledged them."""
        return self._room.undeliverable

    def session_of(self, route: bytes) -> UUID | None:
        """The id of the session that an engine has on a connection; None: it has none there."""
        peer = self._by_route.get(route)
        return None if peer is None else peer.session[1]

    def name_of(self, route: bytes) -> str:
        """What the engine of a connection is called, in the log."""
        peer = self._by_route.get(route)
        return f"connection {route.hex()}" if peer is None else f"engine {peer.name!r}"

    def connected(self) -> list[EngineSession]:
        """The engines that are connected now."""
        return [peer for peer in self._peers.values() if peer.state is SessionState.CONNECTED]

    def receive(
        self, route: bytes, message: Message, batch: RequestBatch, now: float, user: User | None = None
    ) -> None:
        """One message from one connection, decoded; what has to be run goes into ``batch``.

        Args:
            route: the connection.
            message: what came.
            batch: takes what has to be run.
            now: the time.
            user: who was authenticated on the connection; None: there is no security.
        """
        self.ignored += message.ignored
        peer = self._by_route.get(route)
        request, requests = Kind.REQUEST, batch.requests
        known = peer is not None and peer.route == route
        if known:
            assert peer is not None
            if peer.on_received(message.size, now):
                self.writable[peer] = None
                if peer.violates_window:
                    self.cut(route, HEEDLESS, now)
                    return
        elif self.sessionless.is_over_limit(route):
            self.cut(route, WITHOUT_SESSION, now)
            return
        if message.fault and not known:
            self.effects.append(LogRejection(f"an engine is turned away: its HELLO is not accepted: {message.fault}"))
            self.turn_away(route, Goodbye.MALFORMED, f"the HELLO is not accepted: {message.fault}")
        share = message.size // (len(message.records) or 1)
        for tag, record in message.records:
            kind = record[0]
            if kind == request and known and tag != LINK_TAG:
                requests.append((peer, tag, record, share))  # type: ignore[arg-type]
            elif kind == Kind.HELLO:
                self._on_hello(route, record, now, user)
                peer = self._by_route.get(route)
                known = peer is not None and peer.route == route
            elif peer is None:
                self._on_sessionless(route, tag, kind)
            elif not known or (kind in _OF_ITS_CONNECTION and peer.state is SessionState.DETACHED):
                self.ignored += 1
            elif kind == Kind.RECEIVED:
                batch.acks.append((len(requests), peer, record[1], record[2]))
            elif kind == Kind.CANCEL:
                peer.oversize_limit.release(peer.receive_streams.get(tag))
                batch.cancel(peer, tag)
                self.uploads.on_cancel(peer, tag)
            elif kind == Kind.PART:
                outcome = self.uploads.on_part(peer, tag, record, now, requests, batch.refused)
                self.ignored += outcome is FragmentResult.DROPPED
                self.writable[peer] = None
                whole, self.uploads.chunk = self.uploads.chunk, None
                if whole is not None and not self._on_chunk(peer, tag, whole.records[0][1], whole, batch):
                    self.cut(route, BAD_CHUNK, now)
                    return
                if outcome in REFUSED and tag in peer.receive_streams:  # its handler waits for the rest
                    self.cut(route, REFUSED_ITEM, now)
                    return
            elif kind == Kind.TAKEN:
                peer.on_taken(record[1])
                self.writable[peer] = None
            elif kind == Kind.PING:
                peer.send_pong(record[1])
            elif kind == Kind.GOODBYE:
                if record[1] == Goodbye.MALFORMED:
                    text = f"engine {peer.name!r} has ended its session: {record[2][: wire.MAX_TEXT]!r}"
                    self.effects.append(LogRejection(text))
                self.forget(peer, SessionSignal.GOODBYE)
                batch.closed_sessions.add(peer)
                peer, known = None, False
            elif kind == Kind.PONG:
                if peer.on_pong(record[1]):
                    self.writable[peer] = None
            elif kind == Kind.CHUNK:
                if not self._on_chunk(peer, tag, record, message, batch):
                    self.cut(route, BAD_CHUNK, now)
                    return
            elif kind == Kind.CREDIT:
                if peer.send_streams.on_credit(tag, *record[1:]):
                    self.writable[peer] = None
            elif peer.caller is None or not peer.caller.receive(tag, record, message, share):
                self.ignored += 1
        if message.malformed_calls or (message.malformed and known and peer.caller is not None):  # type: ignore[union-attr]
            self._on_malformed(peer if known else None, message)
        if message.malformed and not known:
            error = self._malformed()
            for tag in message.malformed:
                self.sessionless.answer(route, tag, error)
        elif message.malformed:
            batch.malformed += [(peer, tag) for tag in message.malformed]

    def _on_chunk(self, peer: EngineSession, tag: bytes, record: Record, message: Message, batch: RequestBatch) -> bool:
        """Items of a stream have come; False: they may not."""
        receive_stream = peer.receive_streams.get(tag)
        if receive_stream is None:
            # Its handler has ended; or it has not begun, and nobody has asked for items yet.
            if batch.withdraw(peer, tag):
                batch.refused.append((peer, QueuedRecord(tag, self.encoder.pack(self._too_early()))))
            return True
        if not (
            message.has_declared_size and receive_stream.on_chunk(record) and peer.oversize_limit.allows(receive_stream)
        ):
            return False
        self.effects.add(WakeStreams, receive_stream.waker)
        if receive_stream.end_unacknowledged:
            peer.control(receive_stream.credit_record(), tag)
        return True

    def _on_malformed(self, peer: EngineSession | None, message: Message) -> None:
        """Something is not a record, and may be the reply to a call."""
        for tag in message.malformed_calls:
            if peer is None or peer.caller is None or not peer.caller.on_malformed(tag):
                self.ignored += 1
        if peer is not None and peer.caller is not None:
            message.malformed = [tag for tag in message.malformed if not peer.caller.on_malformed(tag)]

    def _too_early(self) -> Record:
        text = "items came before the first CREDIT: data begins when the container has taken the request"
        return self.error_record(Code.MALFORMED, Executed.NO, text)

    def answer_unread(self, batch: RequestBatch) -> None:
        """Answers what is not a request, and those that were too large or came in parts that are none."""
        if batch.malformed:
            error = self._malformed()
            for peer, tag in batch.malformed:
                peer.reply(QueuedRecord(tag, error))
        for peer, item in batch.refused:
            peer.reply(item)

    def _malformed(self) -> bytes:
        """The ERROR for what is not a request, packed."""
        text = "the request is malformed, or beyond the container's Limits (depth, items, batch_records)"
        return self._pack_error(Code.MALFORMED, Executed.NO, text)

    def _pack_error(self, code: int, executed: Executed, text: str, detail: dict[str, object] | None = None) -> bytes:
        return self.encoder.pack(self.error_record(code, executed, text, detail))

    def tick(self, now: float, patience: float) -> None:
        """What is due every now and then: asks silent engines for a sign of life, forgets what is old.

        Args:
            now: the time.
            patience: seconds for which a connection may take nothing of much that waits.
        """
        before = now - self._limits.reply_ttl
        self._room.share()
        for peer in list(self._peers.values()):
            peer.replies.now = now
            if len(peer.replies):
                peer.replies.expire(before)
            if self.uploads.tick(peer, now):
                self.writable[peer] = None
            if peer.is_unresponsive(now - patience):
                self.effects.add(GiveUpEngines, (peer, UNREAD))
            if peer.is_ping_due(now):
                peer.send_ping(now)
            elif peer.is_over(before):
                self.forget(peer, SessionSignal.FORGOTTEN)
            elif peer.caller is not None and peer.state is SessionState.DETACHED and peer.heard_at < before:
                # What runs for it may go on, but not wait for it for ever.
                peer.caller.on_engine_lost("the engine was not heard for Limits.reply_ttl")

    def broadcast_goodbye(self, code: int, text: str) -> None:
        """Says GOODBYE to everybody, now and to whoever still comes."""
        self.draining = text
        for peer in self.connected():
            peer.control([Kind.GOODBYE, code, text])
            # What it sent before it read this is under way: only a PONG behind it shows that nothing more comes.
            peer.has_sent = peer.has_sent or code == Goodbye.DRAINING
            self.writable[peer] = None

    def all_acknowledged(self, now: float, patience: float) -> bool:
        """Asks engines for a sign that they have read everything.

        Args:
            now: the time.
            patience: seconds for which those are waited for that are away.

        Returns:
            False: some have not given it yet.
        """
        for peer in self._peers.values():
            if peer.should_be_asked:
                peer.send_ping(now)
        given_up = self.presence.away_since(now - patience)
        return all(peer.has_read_all or peer in given_up for peer in self._peers.values())

    def turn_away_unread(self, route: bytes, text: str) -> None:
        """A message has come of a key that was removed after it had connected: it is not read."""
        self.ignored += 1
        if self.sessionless.is_over_limit(route):
            self.effects.add(CutConnections, (route, text))
        else:
            self.turn_away(route, Goodbye.NOT_ALLOWED, text)

    def turn_away(self, route: bytes, code: int, text: str) -> None:
        """A connection gets no session, and is told why."""
        self.sessionless.answer(route, LINK_TAG, self.encoder.pack([Kind.GOODBYE, code, text]))

    def on_disconnected(self, routes: Iterable[bytes], now: float) -> None:
        """Connections may have ended: only a message that cannot be sent to one any more shows that it has."""
        for route in routes:
            peer = self._by_route.get(route)
            if peer is not None and peer.route == route and peer.state is SessionState.CONNECTED:
                self.presence.suspect(peer, now)
                peer.send_ping(now)

    def ask_again(self, now: float) -> None:
        """Asks those once more whose connections may have ended."""
        for peer in self.presence.questions(now):
            peer.send_ping(now)

    def detach(self, peer: EngineSession, why: str, now: float) -> None:
        """An engine has no connection any more."""
        peer.detach(now)
        self.writable[peer] = None  # nothing leaves for it, and less waits
        self.presence.on_lost(peer, why, now)

    def cut(self, route: bytes, why: str, now: float) -> None:
        """A connection breaks a rule. It loses no more than that: what its engine has asked goes on, if it has one."""
        self.ignored += 1
        self.effects.add(CutConnections, (route, why))
        peer = self._by_route.get(route)
        if peer is not None and peer.route == route:
            self.detach(peer, f"its connection was cut: {why}", now)
            self._leave_routes(peer, [route])

    def give_up(self, peer: EngineSession, why: str, now: float) -> bool:
        """An engine does not read what it is sent: it loses it, and its connection, but not what it has asked.

        Whatever it sends next is answered with NO_SESSION. It dials again, and asks again: nothing runs twice. But it
        may have nothing to send, and wait for a PONG that was lost with the replies: so it is told in any case.

        Returns:
            False: it has no connection.
        """
        if not peer.connected:
            return False
        error = self._pack_error(Code.NO_SESSION, Executed.NO, f"the engine {why}")
        self.effects.append(NotifyConnection(peer.route, [LINK_TAG, error]))
        self.detach(peer, f"its connection was given up: it {why}", now)
        peer.replies.drop_bodies()
        self._leave_routes(peer, peer.routes)
        return True

    def review(self, user_of: Callable[[str | None], User | None], text: str) -> list[tuple[EngineSession, str]]:
        """The allow-list has changed: whoever is not on it any more is told, as soon as its connection takes it.

        Args:
            user_of: what a key may do now; None: it is not allowed.
            text: what those are told who may not talk to the container any more.

        Returns:
            Those, whose sessions have ended, each with the name of its user.
        """
        ended = []
        for peer in self.all():
            user = user_of(peer.session[0])
            if user is not None:
                peer.user = user
                continue
            goodbye = self.encoder.pack([Kind.GOODBYE, Goodbye.NOT_ALLOWED, text])
            self.effects.append(NotifyConnection(peer.route, [LINK_TAG, goodbye]))
            self.forget(peer, SessionSignal.NOT_ALLOWED)
            ended.append((peer, "" if peer.user is None else peer.user.name))
        return ended

    def forget(self, peer: EngineSession, why: SessionSignal) -> None:
        """Ends a session."""
        peer.signal(why)
        self.presence.on_ended(peer, why.value)
        peer.reassembler.restart()
        if peer.caller is not None:
            peer.caller.on_session_ended(why.value)
        peer.replies.clear()
        self._peers.pop(peer.session, None)
        self.writable.pop(peer, None)
        self._leave_routes(peer, peer.routes)

    def _on_hello(self, route: bytes, record: Record, now: float, user: User | None) -> None:
        _, versions, chosen, number, *_ = record
        session = (None if user is None else user.key, chosen)
        if wire.VERSION not in versions:
            text = f"this container speaks version {wire.VERSION} of the protocol, not any of {versions[:8]}"
            self.turn_away(route, Goodbye.VERSION, text)
            return
        peer = self._peers.get(session)
        resumed = peer is not None
        if peer is None:
            if len(self._peers) >= self._limits.sessions and not self._make_room():
                text = f"this container serves {self._limits.sessions} engines already (Limits.sessions)"
                self.turn_away(route, Goodbye.TOO_MANY_SESSIONS, text)
                return
            peer = self._peers[session] = EngineSession(session, self, self._limits, self.effects, self._room)
            peer.user, peer.calls = user, self.calls
            peer.replies.now = now
            peer.reassembler.room = self.uploads.room
        elif number <= peer.number:
            self.ignored += 1
            return
        former = self._by_route.get(route)
        if former is not None and former is not peer and former.route == route:
            self.detach(former, "its connection has greeted for another session", now)  # it speaks for one
        self._leave_routes(peer, peer.on_hello(route, record, now))
        self._by_route[route] = peer
        self.presence.on_joined(peer, "it is back on a new connection" if resumed else "it has begun a session")
        peer.control(
            wire.welcome(self.instance, number, resumed, self.status, self._name, self._interval, self._limits)
        )
        if self.draining is not None:
            peer.control([Kind.GOODBYE, Goodbye.DRAINING, self.draining])
        self.writable[peer] = None

    def _leave_routes(self, peer: EngineSession, routes: list[bytes]) -> None:
        for route in routes:
            if self._by_route.get(route) is peer:  # else the connection has greeted for another session since
                del self._by_route[route]

    def _make_room(self) -> bool:
        """Forgets one session whose connection is gone: the one that was silent the longest, rather without replies."""
        peer = self.presence.forgettable()
        if peer is None:
            return False
        self.forget(peer, SessionSignal.FORGOTTEN)
        return True

    def _on_sessionless(self, route: bytes, tag: bytes, kind: int) -> None:
        if kind in (Kind.REQUEST, Kind.PART, Kind.PING):
            error = self._pack_error(Code.NO_SESSION, Executed.NO, "no HELLO on this connection yet")
            self.sessionless.answer(route, tag, error)
        else:
            self.ignored += 1
