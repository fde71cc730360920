"""Who is connected to a container: greetings, supersession, and that nothing runs before HELLO."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgpack
import pytest

from mpzmq.config import Limits
from mpzmq.errors import ConnectionLost
from mpzmq.models import Executed, Status
from mpzmq.protocol import wire
from mpzmq.protocol.effects import CutConnections
from mpzmq.protocol.flow.outbox import QueuedRecord
from mpzmq.protocol.flow.send_stream import SendStream
from mpzmq.protocol.flow.window import CONTROL_RESERVE
from mpzmq.protocol.responder.batch import RequestBatch
from mpzmq.protocol.responder.reply_cache import Reply
from mpzmq.protocol.responder.session_state import SessionState
from mpzmq.protocol.session.presence import Presence
from mpzmq.protocol.session.session import MAX_OLD_ROUTES, EngineSession
from mpzmq.protocol.session.sessionless import MAX_MESSAGES, MAX_ROUTES, SessionlessConnections
from mpzmq.protocol.session.table import SessionTable
from mpzmq.protocol.session.violations import HEEDLESS, WITHOUT_SESSION
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.messages import Message, MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.protocol import INSTANCE, SESSION, items, tag

REQUEST = [Kind.REQUEST, 1, None, 0, Op.CALL, "add", [1], None, None]
OTHER = UUID(int=0xEE)


class Container:
    """Sessions, and what they make of records."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.sessions = SessionTable(INSTANCE, "worker-7", 2.0, self.limits)
        self.reader = MessageDecoder(Limits(), Kind.RESPONSE)
        self.now = 0.0

    def tell(self, route: bytes, *records: list[Any], tag: bytes = LINK_TAG, size: int = 10) -> RequestBatch:
        batch = RequestBatch()
        message = Message(records=[(tag, list(record)) for record in records], size=size)
        self.sessions.receive(route, message, batch, self.now)
        return batch

    def greet(
        self, route: bytes, number: int = 1, session: UUID = SESSION, versions: list[int] | None = None
    ) -> EngineSession | None:
        record = wire.hello(session, number, "engine", 2.0, Limits())
        record[1] = [wire.VERSION] if versions is None else versions
        self.tell(route, record)
        return self.sessions._peers.get((None, session))

    @staticmethod
    def is_closed(peer: EngineSession) -> bool:
        """Whether its session has ended. (A type checker takes an attribute for what it was when it was compared.)"""
        return peer.state is SessionState.CLOSED

    def replies(self) -> dict[bytes, list[list[Any]]]:
        """What leaves now, by route."""
        found: dict[bytes, list[list[Any]]] = {}
        for route, frames in self.sessions.sessionless.take():
            found.setdefault(route, []).extend(self._records(frames))
        while self.sessions.writable:
            peer, _ = self.sessions.writable.popitem()
            while (outgoing := peer.next_outgoing(self.now)) is not None:
                found.setdefault(peer.route, []).extend(self._records(outgoing.frames))
        return found

    def _records(self, frames: list[Any]) -> list[list[Any]]:
        message = self.reader.decode(frames)
        assert not message.malformed and not message.ignored
        return [record for _, record in message.records]


def test_hello_is_answered() -> None:
    container = Container()
    container.sessions.status = Status.STOP
    peer = container.greet(b"r1", 3)
    assert peer is not None and peer.state is SessionState.CONNECTED
    expected = wire.welcome(INSTANCE, 3, False, Status.STOP, "worker-7", 2.0, Limits())
    assert container.replies() == {b"r1": [expected]}
    assert container.sessions.connected() == [peer]


def test_a_known_session_is_resumed() -> None:
    container = Container()
    peer = container.greet(b"r1", 1)
    container.replies()
    assert container.greet(b"r2", 2) is peer
    ((_, (welcome,)),) = container.replies().items()
    assert (welcome[3], welcome[4]) == (2, True)


@pytest.mark.parametrize("versions", [[], [1], [wire.VERSION + 1, wire.VERSION + 2]])
def test_a_version_that_is_not_spoken(versions: list[int]) -> None:
    container = Container()
    assert container.greet(b"r1", 1, versions=versions) is None
    ((route, (goodbye,)),) = container.replies().items()
    assert (route, goodbye[:2]) == (b"r1", [Kind.GOODBYE, Goodbye.VERSION])
    assert f"speaks version {wire.VERSION} of the protocol, not any of {versions}" in goodbye[2]
    assert not container.tell(b"r1", REQUEST, tag=tag(1)).requests


def test_one_of_several_versions() -> None:
    container = Container()
    assert container.greet(b"r1", 1, versions=[3, 2, 1]) is not None


def test_too_many_sessions() -> None:
    container = Container(Limits(sessions=1))
    first = container.greet(b"r1")
    assert first is not None
    container.replies()
    assert container.greet(b"r2", 1, OTHER) is None
    ((route, (goodbye,)),) = container.replies().items()
    assert (route, goodbye[:2]) == (b"r2", [Kind.GOODBYE, Goodbye.TOO_MANY_SESSIONS])
    assert "Limits.sessions" in goodbye[2]
    assert container.greet(b"r3", 2) is first, "who is known already may come again"


def test_a_session_without_a_connection_makes_room() -> None:
    container = Container(Limits(sessions=1))
    first = container.greet(b"r1")
    assert first is not None
    container.sessions.detach(first, "gone", container.now)
    first.in_flight = 1
    assert container.greet(b"r2", 1, OTHER) is None, "but not while something runs for it"
    first.in_flight = 0
    assert container.greet(b"r2", 1, OTHER) is not None
    assert first.state is SessionState.CLOSED


def test_the_one_that_was_silent_the_longest_makes_room_rather_without_replies() -> None:
    container = Container(Limits(sessions=4))
    peers = []
    for number in range(4):
        container.now = float(number)
        peer = container.greet(f"r{number}".encode(), 1, UUID(int=number + 1))
        assert peer is not None
        container.sessions.detach(peer, "gone", container.now)
        peers.append(peer)
    peers[0].replies.keep(Reply(tag(1), b"\x93\x04\x01\xc0", (), 1, None))
    container.now = 10.0
    assert container.greet(b"back", 2, UUID(int=2)) is peers[1]
    for number, forgotten in ((11, peers[2]), (12, peers[3]), (13, peers[0])):
        assert not container.is_closed(forgotten)
        assert container.greet(b"r%d" % number, 1, UUID(int=number)) is not None
        assert container.is_closed(forgotten)
    assert container.greet(b"last", 1, UUID(int=99)) is None
    assert peers[1].state is SessionState.CONNECTED


def test_a_flood_of_greetings_looks_for_room_once(monkeypatch: pytest.MonkeyPatch) -> None:
    container = Container(Limits(sessions=50))
    looks = 0
    look = Presence._look_for_forgettable

    def counted(self: Presence) -> None:
        nonlocal looks
        looks += 1
        look(self)

    monkeypatch.setattr(Presence, "_look_for_forgettable", counted)
    for number in range(500):
        container.now += 1.0
        assert container.greet(b"one connection", 1, UUID(int=number + 1)) is not None
    assert len(container.sessions._peers) == 50
    assert looks <= 500 // 50 + 1


def test_a_connection_that_greets_for_many_sessions_holds_one_place() -> None:
    """The last session of a connection keeps it when an older one of the same connection is forgotten."""
    container = Container(Limits(sessions=2))
    for number in range(10):
        assert container.greet(b"route", 1, UUID(int=number + 1)) is not None
        assert len(container.sessions.connected()) == 1
    assert container.greet(b"another", 1, OTHER) is not None
    batch = container.tell(b"route", REQUEST, tag=tag(1))
    assert len(batch.requests) == 1


# Nothing runs before HELLO


def test_a_request_before_hello_has_not_run() -> None:
    container = Container()
    batch = container.tell(b"r1", REQUEST, tag=tag(1))
    assert not batch.requests
    assert container.replies() == {
        b"r1": [[Kind.ERROR, Code.NO_SESSION, 0, 1, "no HELLO on this connection yet", None]]
    }


def test_an_engine_whose_session_was_given_up_hears_of_it() -> None:
    container = Container()
    container.tell(b"r1", [Kind.PING, 1])
    assert [record[:2] for record in container.replies()[b"r1"]] == [[Kind.ERROR, Code.NO_SESSION]]


@pytest.mark.parametrize("record", [[Kind.CANCEL], [Kind.PONG, 1, 0, 0], [Kind.GOODBYE, 2, ""]])
def test_other_records_before_hello_are_ignored(record: list[Any]) -> None:
    container = Container()
    batch = container.tell(b"r1", record)
    assert container.replies() == {} and not batch.cancels and not batch.closed_sessions
    assert container.sessions.ignored == 1


def test_hello_and_request_in_one_message() -> None:
    container = Container()
    hello = wire.hello(SESSION, 1, "engine", 2.0, Limits())
    batch = container.tell(b"r1", hello, REQUEST, tag=tag(1))
    assert numbers_of(batch) == [1]


# Supersession


def test_what_still_arrives_from_an_old_connection_is_dropped_and_counted() -> None:
    container = Container()
    container.greet(b"r1", 1)
    peer = container.greet(b"r2", 2)
    assert peer is not None
    container.replies()
    for record in (REQUEST, [Kind.CANCEL], [Kind.PING, 2], [Kind.PONG, 2, 0, 0], [Kind.GOODBYE, 2, "bye"]):
        batch = container.tell(b"r1", record, tag=tag(1))
        assert not batch.requests and not batch.cancels and not batch.closed_sessions
    assert container.replies() == {}
    assert container.sessions.ignored == 5
    assert peer.state is SessionState.CONNECTED
    assert len(container.tell(b"r2", REQUEST, tag=tag(1)).requests) == 1


def test_credit_of_a_connection_that_is_gone_does_not_tell_where_a_stream_goes_on() -> None:
    container = Container()
    peer = container.greet(b"r1", 1)
    assert peer is not None
    flow = SendStream(100, 1000)
    peer.send_streams.open(tag(1), flow)
    for _ in range(5):
        flow.write(b"\x01", (), 1)
    peer.send_streams.mark_ready(tag(1))
    container.replies()
    assert flow.sent == 5
    container.sessions.detach(peer, "gone", container.now)
    container.tell(b"r1", [Kind.CREDIT, 2, 100, 1000], tag=tag(1))  # was read late: the engine has more by now
    container.greet(b"r2", 2)
    container.tell(b"r2", [Kind.CREDIT, 4, 100, 1000], tag=tag(1))
    chunks = [record for record in container.replies()[b"r2"] if record[0] == Kind.CHUNK]
    assert [(chunk[1], len(chunk[4])) for chunk in chunks] == [(4, 1)]


def test_data_of_a_connection_that_is_gone_does_not_come_behind_its_loss() -> None:
    container = Container()
    peer = container.greet(b"r1", 1)
    assert peer is not None
    peer.open_receive_stream(tag(1))
    receive_stream = peer.receive_streams[tag(1)]
    container.tell(b"r1", [Kind.CHUNK, 0, 1, False, [1]], tag=tag(1))
    container.sessions.detach(peer, "gone", container.now)
    container.tell(b"r1", [Kind.CHUNK, 1, 1, False, [2]], tag=tag(1))
    assert isinstance(receive_stream.failure, ConnectionLost) and receive_stream.failure.progress is not None
    assert receive_stream.received == receive_stream.failure.progress.received == 1
    assert peer.state is SessionState.DETACHED and container.sessions.ignored == 1


@pytest.mark.parametrize(
    "record",
    [[Kind.PART, 100, None, [b"x"]], [Kind.TAKEN, 5], [Kind.PING, 1], [Kind.PONG, 1, 0, 0]],
)
def test_what_speaks_of_a_connection_that_is_gone_means_nothing(record: list[Any]) -> None:
    container = Container()
    peer = container.greet(b"r1", 1)
    assert peer is not None
    container.replies()
    container.sessions.detach(peer, "gone", container.now)
    batch = container.tell(b"r1", record, tag=tag(1) if record[0] == Kind.PART else LINK_TAG)
    assert container.sessions.ignored == 1 and not batch.refused and not peer.outbox


def test_a_message_of_an_old_connection_is_no_sign_of_life() -> None:
    container = Container()
    container.greet(b"r1", 1)
    peer = container.greet(b"r2", 2)
    assert peer is not None
    container.now = 4.0
    container.tell(b"r1", REQUEST, tag=tag(1))
    assert peer.is_ping_due(4.0)
    container.tell(b"r2", [Kind.CANCEL])
    assert not peer.is_ping_due(4.0)


@pytest.mark.parametrize("number", [0, 1, 4, 5])
def test_a_hello_that_is_not_newer_is_ignored(number: int) -> None:
    container = Container()
    peer = container.greet(b"r5", 5)
    container.replies()
    assert container.greet(b"late", number) is peer
    assert peer is not None and (peer.route, peer.number) == (b"r5", 5)
    assert container.replies() == {} and container.sessions.ignored == 1
    batch = container.tell(b"late", REQUEST, tag=tag(1))
    assert not batch.requests
    assert container.replies()[b"late"][0][1] == Code.NO_SESSION


def test_replies_go_to_the_newest_connection() -> None:
    container = Container()
    container.greet(b"r1", 1)
    (request,) = container.tell(b"r1", REQUEST, tag=tag(1)).requests
    container.greet(b"r2", 2)
    assert request is not None
    request[0].outbox.put(QueuedRecord(tag(1), msgpack.packb([Kind.RESPONSE, 1, "x"])))
    assert [record[0] for record in container.replies()[b"r2"]] == [Kind.WELCOME, Kind.RESPONSE]


def test_receipts_count_when_the_requests_before_them_have_been_started() -> None:
    container = Container()
    peer = container.greet(b"r1", 1)
    assert peer is not None
    peer.replies.keep(Reply(tag(1), b"body", (), 1, None))
    batch = container.tell(b"r1", REQUEST, tag=tag(1))
    batch.acks += container.tell(b"r1", [Kind.RECEIVED, 2, tag(1)]).acks
    assert tag(1) in peer.replies.entries, "the request that came again must be known until it was looked at"
    assert batch.acks == [(0, peer, 2, tag(1))]


def test_connections_too_old_are_forgotten() -> None:
    container = Container()
    for number in range(1, MAX_OLD_ROUTES + 4):
        container.greet(b"r%d" % number, number)
    container.replies()
    container.tell(b"r1", REQUEST, tag=tag(1))
    assert container.replies()[b"r1"][0][1] == Code.NO_SESSION, "not run either way"
    container.tell(b"r%d" % (MAX_OLD_ROUTES + 2), REQUEST, tag=tag(1))
    assert container.replies() == {}


# Records of an engine that has greeted


def numbers_of(batch: RequestBatch) -> list[int | None]:
    return [None if request is None else int.from_bytes(request[1], "big") for request in batch.requests]


def test_a_cancel_stops_what_came_before_it() -> None:
    container = Container()
    peer = container.greet(b"r1")
    cancel: list[Any] = [Kind.CANCEL]
    batch = RequestBatch()
    for records in (
        [(tag(9), cancel), (tag(1), REQUEST), (tag(2), REQUEST)],
        [(tag(1), cancel), (tag(1), REQUEST), (tag(3), cancel), (tag(3), REQUEST)],
    ):
        container.sessions.receive(b"r1", Message(records=records), batch, 0.0)
    assert numbers_of(batch) == [None, 2, 1, 3]
    assert [(who, id, withdrawn is not None) for who, id, withdrawn in batch.cancels] == [
        (peer, tag(9), False),
        (peer, tag(1), True),
        (peer, tag(3), False),
    ]


def test_goodbye_stops_what_came_before_it() -> None:
    container = Container()
    peer = container.greet(b"r1")
    batch = RequestBatch()
    message = Message(records=[(tag(1), REQUEST), (tag(2), REQUEST), (LINK_TAG, [Kind.GOODBYE, 2, ""])])
    container.sessions.receive(b"r1", message, batch, 0.0)
    assert batch.closed_sessions == {peer}
    assert [request[0].state for request in batch.requests if request] == [SessionState.CLOSED] * 2


def test_goodbye_ends_the_session() -> None:
    container = Container()
    peer = container.greet(b"r1", 7)
    batch = container.tell(b"r1", [Kind.GOODBYE, Goodbye.CLOSED, "closed"])
    assert batch.closed_sessions == {peer}
    assert peer is not None and peer.state is SessionState.CLOSED and container.sessions.connected() == []
    assert container.replies() == {}
    assert not container.tell(b"r1", REQUEST, tag=tag(1)).requests
    again = container.greet(b"r2", 1)
    assert again is not None and again is not peer, "whoever comes again is new"
    assert container.replies()[b"r2"][0][4] is False


def test_what_stands_behind_goodbye_does_not_run() -> None:
    container = Container()
    container.greet(b"r1")
    batch = container.tell(b"r1", [Kind.GOODBYE, 2, ""], REQUEST, tag=tag(1))
    assert not batch.requests


def test_ping_is_answered_with_what_was_read() -> None:
    container = Container()
    container.greet(b"r1", 4)
    container.replies()
    container.tell(b"r1", [Kind.CANCEL], size=70)
    container.tell(b"r1", [Kind.PING, 4], size=30)
    assert container.replies() == {b"r1": [[Kind.PONG, 4, 2, 100, 1, 0, 0]]}
    container.tell(b"r1", [Kind.PING, 3])
    assert [record[:2] for record in container.replies()[b"r1"]] == [[Kind.PONG, 3]]


def test_only_the_pong_to_its_ping_shows_that_an_engine_has_read_everything() -> None:
    container = Container()
    peer = container.greet(b"r1", 4)
    assert peer is not None
    assert not container.sessions.all_acknowledged(1.0, 5.0)
    container.replies()
    assert not container.sessions.all_acknowledged(1.0, 5.0)
    ((kind, number),) = container.replies()[b"r1"]
    assert kind == Kind.PING
    container.tell(b"r1", [Kind.PONG, number ^ 1, 0, 0])
    assert not container.sessions.all_acknowledged(2.0, 5.0)
    container.tell(b"r1", [Kind.PONG, number, 0, 0])
    assert container.sessions.all_acknowledged(3.0, 5.0) and container.replies() == {}


@pytest.mark.parametrize(
    "record",
    [
        wire.welcome(INSTANCE, 1, False, Status.RUNNING, "w", 2.0, Limits()),
        [Kind.RESPONSE, 1, None],
        [Kind.ERROR, 1, 0, 1, "", None],
        [11, 1, 1],
        REQUEST,  # under the link tag
    ],
)
def test_records_that_no_engine_sends_are_ignored(record: list[Any]) -> None:
    container = Container()
    container.greet(b"r1")
    container.replies()
    batch = container.tell(b"r1", record)
    assert not batch.requests and container.replies() == {}
    assert container.sessions.ignored == 1


@pytest.mark.parametrize("greeted", [False, True])
def test_malformed_requests_are_answered(greeted: bool) -> None:
    container = Container()
    if greeted:
        container.greet(b"r1")
        container.replies()
    message = Message([], malformed=[tag(1), tag(2)], ignored=3)
    batch = RequestBatch()
    container.sessions.receive(b"r1", message, batch, 0.0)
    if greeted:
        assert [tag for _, tag in batch.malformed] == [tag(1), tag(2)], "answered as requests are"
        assert container.replies() == {}
    else:
        replies = container.replies()[b"r1"]
        assert [record[:4] for record in replies] == [[Kind.ERROR, Code.MALFORMED, 0, 1]] * 2
    assert container.sessions.ignored == 3


def test_what_answers_one_message_of_a_stranger_is_one_message() -> None:
    """Whoever sends one record a message may accept no more than that."""
    container = Container(Limits(batch_records=4))
    for number in range(1, 10):
        container.tell(b"r1", REQUEST, tag=tag(number))
    answers = container.sessions.sessionless.take()
    assert [(route, frames[0]) for route, frames in answers] == [(b"r1", tag(number)) for number in range(1, 10)]
    assert container.replies() == {}


def test_a_stranger_that_floods_is_cut() -> None:
    container = Container()
    for _ in range(MAX_MESSAGES):
        container.tell(b"r1", REQUEST, tag=tag(1))
    container.tell(b"r2", REQUEST, tag=tag(1))
    assert not items(container.sessions.effects, CutConnections)
    container.tell(b"r1", REQUEST, tag=tag(1))
    assert items(container.sessions.effects, CutConnections) == [(b"r1", WITHOUT_SESSION)]


def test_of_how_many_strangers_it_is_remembered_what_they_said() -> None:
    sessionless = SessionlessConnections(Limits())
    for _ in range(MAX_MESSAGES):
        assert not sessionless.is_over_limit(b"first")
    for number in range(MAX_ROUTES - 1):
        assert not sessionless.is_over_limit(b"%d" % number)
    assert sessionless.is_over_limit(b"first")
    for number in range(MAX_ROUTES):
        sessionless.is_over_limit(b"%d" % number)
    assert not sessionless.is_over_limit(b"first"), "forgotten for others"


def test_an_engine_that_sends_on_and_reads_nothing_is_cut_and_keeps_its_session() -> None:
    container = Container(Limits(window=8))
    peer = container.greet(b"r1")
    assert peer is not None
    sent = 0
    while not (cut := items(container.sessions.effects, CutConnections)):
        sent += 1
        assert sent < 1000
        container.tell(b"r1", [Kind.PING, 1])
        container.replies()
    assert cut == [(b"r1", HEEDLESS)]
    assert sent > 8 + CONTROL_RESERVE, "so many may be under way"
    assert peer.state is SessionState.DETACHED
    assert container.greet(b"r2", 2) is peer
    container.tell(b"r2", [Kind.PING, 2])
    assert not items(container.sessions.effects, CutConnections), "a new connection counts anew"


def test_reading_a_quarter_of_the_window_makes_a_pong_leave() -> None:
    container = Container(Limits(window=64))
    container.greet(b"r1")
    container.replies()
    for number in range(1, 17):
        assert container.replies() == {}
        container.tell(b"r1", REQUEST, tag=tag(number))
    pong, ping = container.replies()[b"r1"]
    assert pong == [Kind.PONG, 0, 16, 160, 1, 0, 0] and ping[0] == Kind.PING


# Care and drain


def test_silent_engines_are_asked_and_those_that_are_gone_forgotten() -> None:
    container = Container()
    silent, gone, busy = (container.greet(bytes([n]), 1, UUID(int=n)) for n in (1, 2, 3))
    assert silent is not None and gone is not None and busy is not None
    container.replies()
    container.sessions.detach(gone, "gone", container.now)
    container.sessions.detach(busy, "gone", container.now)
    busy.in_flight = 1
    container.sessions.tick(3.9, 10.0)
    assert container.replies() == {}
    container.sessions.tick(4.0, 10.0)
    (((kind, _),),) = container.replies().values()
    assert kind == Kind.PING
    assert gone.state is SessionState.DETACHED, "it may come back, and ask"
    ttl = Limits().reply_ttl
    container.sessions.tick(ttl, 10.0)
    assert gone.state is SessionState.DETACHED
    container.sessions.tick(ttl + 0.1, 10.0)
    assert str(gone.state) == str(SessionState.CLOSED)
    assert busy.state is SessionState.DETACHED, "what runs for it goes on"


def test_farewell_is_said_to_all_and_to_whoever_still_comes() -> None:
    container = Container()
    container.greet(b"r1")
    container.replies()
    container.sessions.broadcast_goodbye(Goodbye.DRAINING, "SIGTERM")
    assert container.sessions.draining == "SIGTERM"
    assert container.replies() == {b"r1": [[Kind.GOODBYE, Goodbye.DRAINING, "SIGTERM"]]}
    container.greet(b"r2", 1, OTHER)
    assert [record[:2] for record in container.replies()[b"r2"]] == [
        [Kind.WELCOME, wire.VERSION],
        [Kind.GOODBYE, Goodbye.DRAINING],
    ]


def test_a_session_that_is_given_up() -> None:
    container = Container()
    container.greet(b"r1", 1)
    peer = container.greet(b"r2", 2)
    assert peer is not None
    peer.replies.keep(Reply(tag(7), b"body", (), 7, None))
    container.sessions.give_up(peer, "did not read", container.now)
    assert peer.state is SessionState.DETACHED and container.replies() == {}
    assert not peer.replies.entries and list(peer.replies.tombstones) == [tag(7)]
    for route in (b"r1", b"r2"):
        container.tell(route, REQUEST, tag=tag(1))
        assert container.replies()[route][0][1] == Code.NO_SESSION


def test_errors_carry_the_status() -> None:
    sessions = Container().sessions
    assert sessions.error_record(Code.REFUSED, Executed.NO, "why") == [Kind.ERROR, 7, 0, 1, "why", None]
    sessions.status = Status.STOP
    assert sessions.error_record(Code.REMOTE, Executed.YES, "why", {"a": 1}) == [Kind.ERROR, 11, 2, 0, "why", {"a": 1}]


def test_two_engines_do_not_know_of_each_other() -> None:
    container = Container()
    one, other = container.greet(b"r1"), container.greet(b"r2", 1, OTHER)
    batch = container.tell(b"r1", [Kind.CANCEL], tag=tag(1))
    assert batch.cancels == [(one, tag(1), None)]
    container.tell(b"r2", [Kind.GOODBYE, 2, ""])
    assert one is not None and other is not None
    assert (one.state, other.state) == (SessionState.CONNECTED, SessionState.CLOSED)
