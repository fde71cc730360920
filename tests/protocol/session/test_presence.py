"""Which engines are there: what is made of connections that may have ended, without a transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from mpzmq.config import Limits
from mpzmq.protocol import wire
from mpzmq.protocol.effects import TellPresence
from mpzmq.protocol.responder.batch import RequestBatch
from mpzmq.protocol.responder.reply_cache import Reply
from mpzmq.protocol.responder.session_state import SessionState
from mpzmq.protocol.session.presence import FIRST_WAIT, LAST_WAIT
from mpzmq.protocol.session.table import SessionTable
from mpzmq.protocol.wire.kinds import Goodbye, Kind
from mpzmq.protocol.wire.messages import MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.protocol import items

if TYPE_CHECKING:
    from mpzmq.protocol.session.session import EngineSession

ONE, OTHER = UUID(int=1), UUID(int=2)


class Container:
    """The sessions of a container; the test is its transport, and moves the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sessions = SessionTable(UUID(int=9), "box", 2.0, Limits())
        self.presence = self.sessions.presence
        self._reader = MessageDecoder(Limits(), Kind.REQUEST)

    def greet(self, route: bytes, session: UUID = ONE, number: int = 1) -> EngineSession:
        self.tell(route, wire.hello(session, number, "engine", 2.0, Limits()))
        self.asked()
        return next(peer for peer in self.sessions.all() if peer.session[1] == session)

    def tell(self, route: bytes, *records: list[Any]) -> RequestBatch:
        batch = RequestBatch()
        body = b"".join(self.sessions.encoder.pack(record) for record in records)
        self.sessions.receive(route, self._reader.decode([LINK_TAG * len(records), body]), batch, self.now)
        return batch

    def asked(self) -> list[bytes]:
        """The routes that get something to read now, as a transport takes it that says of none that it is gone."""
        routes = []
        for peer in list(self.sessions.writable):
            del self.sessions.writable[peer]
            while (outgoing := peer.next_outgoing(self.now)) is not None:
                peer.on_sent(outgoing)
                routes.append(peer.route)
        return routes

    def changed(self) -> list[tuple[EngineSession, str]]:
        """Who came or went since the last look, and why."""
        return items(self.sessions.effects, TellPresence)

    def after(self, seconds: float) -> list[bytes]:
        self.now += seconds
        self.sessions.ask_again(self.now)
        return self.asked()


def test_a_connection_that_may_have_ended_is_asked_at_once_and_again() -> None:
    container = Container()
    peer = container.greet(b"r1")
    container.sessions.on_disconnected([b"r1"], container.now)
    assert container.asked() == [b"r1"]
    assert container.presence.next_question() == container.now + FIRST_WAIT
    assert container.after(0.9 * FIRST_WAIT) == []
    assert container.after(0.2 * FIRST_WAIT) == [b"r1"], "the first was perhaps taken and lost"
    assert container.after(1.9 * FIRST_WAIT) == [], "each wait is twice as long"
    assert container.after(0.2 * FIRST_WAIT) == [b"r1"]
    assert peer.state is SessionState.CONNECTED and not container.presence.away


def test_who_is_not_heard_is_left_to_the_pings_of_silent_engines_in_the_end() -> None:
    container = Container()
    container.greet(b"r1")
    container.sessions.on_disconnected([b"r1"], container.now)
    questions = len(container.asked())
    while (when := container.presence.next_question()) != float("inf"):
        questions += len(container.after(when - container.now))
        assert questions < 20
    assert container.now >= 100.0 + LAST_WAIT


def test_who_answers_is_asked_no_more() -> None:
    container = Container()
    peer = container.greet(b"r1")
    container.sessions.on_disconnected([b"r1"], container.now)
    container.asked()
    container.now += 0.001
    container.tell(b"r1", [Kind.PONG, 1, 0, 0])
    assert container.after(FIRST_WAIT) == []
    assert container.presence.next_question() == float("inf")
    assert peer in container.presence.here


def test_who_has_another_connection_is_not_asked() -> None:
    container = Container()
    container.greet(b"r1")
    container.greet(b"r2", number=2)
    container.sessions.on_disconnected([b"r1", b"unknown"], container.now)
    assert container.asked() == [] and container.presence.next_question() == float("inf")
    container.sessions.on_disconnected([b"r2"], container.now)
    container.asked()
    container.greet(b"r3", number=3)
    assert container.after(FIRST_WAIT) == [], "the doubt was about the connection before"


def test_who_is_there_and_who_is_away_since_when() -> None:
    container = Container()
    one, other = container.greet(b"r1"), container.greet(b"r2", OTHER)
    container.now += 1
    container.sessions.detach(other, "lost", container.now)
    container.now += 1
    container.sessions.detach(one, "lost", container.now)
    assert container.presence.away == {other: 101.0, one: 102.0} and not container.presence.here
    container.greet(b"r3", OTHER, 2)
    assert container.presence.away == {one: 102.0}
    assert [(info.session, info.name, info.user) for info in container.presence.here.values()] == [
        (OTHER, "engine", None)
    ]
    container.tell(b"r3", [Kind.GOODBYE, Goodbye.CLOSED, ""])
    assert not container.presence.here and container.presence.away == {one: 102.0}


def test_changes_are_told_once_each_and_the_latest_reason_counts() -> None:
    container = Container()
    peer = container.greet(b"r1")
    assert container.changed() == [(peer, "it has begun a session")]
    container.greet(b"r2", number=2)
    assert not container.changed(), "it has been there all the time"
    container.sessions.detach(peer, "lost", container.now)
    container.greet(b"r3", number=3)
    assert container.changed() == [(peer, "lost"), (peer, "it is back on a new connection")]
    container.sessions.detach(peer, "lost", container.now)
    container.changed()
    container.tell(b"r3", [Kind.GOODBYE, Goodbye.CLOSED, ""])
    assert peer.state is SessionState.CLOSED, "also if its GOODBYE was read behind the end of its connection"
    assert not container.changed() and not container.presence.away


def test_a_drain_waits_for_those_who_are_away_for_a_time_only() -> None:
    container = Container()
    peer = container.greet(b"r1")
    peer.replies.keep(Reply(b"t" * 16, b"\x93\x04\x01\xc0", (), 1, None))
    container.sessions.detach(peer, "lost", container.now)
    assert not container.sessions.all_acknowledged(container.now + 4.9, 5.0), "it may come back, and ask for its reply"
    assert container.sessions.all_acknowledged(container.now + 5.0, 5.0)
    container.now += 5.0
    container.greet(b"r2", number=2)
    assert not container.sessions.all_acknowledged(container.now, 5.0), "it is back"


def test_a_session_outlives_what_is_kept_for_it() -> None:
    """A reply is kept from when it was given, however long its engine had been away then."""
    container = Container()
    peer = container.greet(b"r1")
    container.sessions.detach(peer, "lost", container.now)
    container.now += 2 * Limits().reply_ttl
    peer.in_flight = 1
    container.sessions.tick(container.now, 10.0)
    peer.replies.keep(Reply(b"t" * 16, b"\x93\x04\x01\xc0", (), 1, None))
    peer.in_flight = 0
    container.sessions.tick(container.now + 1, 10.0)
    assert container.sessions.all() == [peer]
    container.sessions.tick(container.now + Limits().reply_ttl + 1, 10.0)
    assert container.sessions.all() == []
