"""Both halves of calls, without sockets: the books of the container's, and what the engine's lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.errors import (
    ConnectionClosed,
    EncodeError,
    ProtocolError,
    RemoteError,
    RequestCancelled,
    RequestTimeout,
    Unsupported,
)
from mpzmq.models import Executed
from mpzmq.protocol import wire
from mpzmq.protocol.effect_queue import EffectQueue
from mpzmq.protocol.effects import ResolveRequests
from mpzmq.protocol.flow.outbox import QueuedRecord
from mpzmq.protocol.flow.window import SendWindow
from mpzmq.protocol.requester.options import Options
from mpzmq.protocol.requester.request import PendingRequest
from mpzmq.protocol.responder.nested_calls import NestedCallReceiver
from mpzmq.protocol.responder.reply_cache import Reply, ReplyBudget
from mpzmq.protocol.responder.responder import HandlerHost
from mpzmq.protocol.responder.session_state import SessionState
from mpzmq.protocol.session.session import EngineSession
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Code, Kind, Op
from mpzmq.protocol.wire.messages import Message, MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.protocol import REMOTE, SESSION, items, tag

if TYPE_CHECKING:
    from mpzmq.protocol.requester.nested_calls import NestedCalls

PARENT, OTHER = tag(100), tag(101)


def unpacked(frames: list[Any]) -> list[tuple[bytes, list[Any]]]:
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(frames[1])
    return [(bytes(frames[0][16 * index : 16 * index + 16]), record) for index, record in enumerate(unpacker)]


def issue(
    caller: NestedCalls, parent: bytes, function: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None,
    deadline: float | None = None,
) -> PendingRequest:  # fmt: skip
    """A call as a container's handler makes it."""
    options = Options(timeout=None)
    return caller.issue(parent, deadline, function, args, kwargs or {}, options, 0.0, is_over=False)


class Container:
    """A session, and what its handlers call."""

    def __init__(self, limits: Limits | None = None, calls: int = 100) -> None:
        self.limits = limits or Limits()
        self.effects = EffectQueue()
        room = ReplyBudget(self.limits)
        host = HandlerHost(Encoder(self.limits))
        self.peer = EngineSession((None, SESSION), host, self.limits, self.effects, room)
        self.calls = calls
        self.number = 0
        self.hello()
        self.caller = self.peer.open_caller()
        self.tracker = self.caller.requester.tracker

    def hello(self) -> None:
        self.number += 1
        hello = wire.hello(SESSION, self.number, "engine-1", 2.0, self.limits, self.calls)
        self.peer.on_hello(b"%d" % self.number, hello, 0.0)

    def make(self, parent: bytes = PARENT, *, deadline: float | None = None, waiter: Any = None) -> PendingRequest:
        entry = issue(self.caller, parent, "progress", (0.5,), deadline=deadline)
        self.caller.submit(entry, waiter or entry.tag, parent)
        return entry

    def tell(self, tag: bytes, record: list[Any], size: int = 100) -> bool:
        """The engine says something under the tag of a call."""
        return self.caller.receive(tag, record, Message([(tag, record)]), size)

    def flush(self) -> list[tuple[bytes, list[Any]]]:
        found = []
        while (outgoing := self.peer.next_outgoing(0.0)) is not None:
            self.peer.on_sent(outgoing)
            found += unpacked(outgoing.frames)
        return [(one, record) for one, record in found if record[0] not in (Kind.PING, Kind.PONG)]

    def ended(self) -> list[tuple[Any, Any]]:
        counted = self.tracker.statistics(reconnects=0, attempts=0, rtt=None)
        assert counted.issued == counted.replied + counted.failed + counted.cancelled + counted.in_flight
        assert counted.in_flight == len(self.tracker.pending)
        return items(self.effects, ResolveRequests)


def error_of(container: Container) -> Any:
    ((_, error),) = container.ended()
    return error


# The container's half


def test_a_call_is_a_request_with_its_parent() -> None:
    container = Container()
    entry = container.make(deadline=10.0)
    ((one, record),) = container.flush()
    assert one == entry.tag
    assert record[:9] == [Kind.REQUEST, 1, 10_001, 0, Op.CALL, "progress", [0.5], None, None]
    read = MessageDecoder(Limits(), Kind.RESPONSE).decode([entry.tag, entry.body])
    assert read.records[0][1][9] == UUID(bytes=PARENT)
    assert container.tell(entry.tag, [Kind.RESPONSE, 1, "fine"], 100)
    assert container.ended() == [(entry.tag, [Kind.RESPONSE, 1, "fine"])]
    assert not container.caller.on_malformed(entry.tag)


def test_the_remaining_time_is_written_anew() -> None:
    container = Container()
    entry = container.make(deadline=10.0)
    entry.refresh(9.0)
    ((_, record),) = unpacked([entry.tag, entry.body])
    assert record[2] == 1001 and len(record) == 10


def test_arguments_that_cannot_be_sent() -> None:
    container = Container()
    with pytest.raises(EncodeError, match=r"args\[1\]"):
        issue(container.caller, PARENT, "f", (1, object()))
    with pytest.raises(EncodeError, match=r"kwargs\['a'\]"):
        issue(container.caller, PARENT, "f", (), {"a": 2**70})


@pytest.mark.parametrize("code", [Code.NO_SESSION, Code.DRAINING])
def test_an_engine_has_nothing_to_send_again(code: int) -> None:
    container = Container()
    entry = container.make()
    container.flush()
    assert container.tell(entry.tag, [Kind.ERROR, code, 0, 1, "again", None], 100)
    assert isinstance(error_of(container), ProtocolError)
    assert not container.flush()


def test_errors_name_the_engine_and_no_container() -> None:
    container = Container()
    entry = container.make()
    container.flush()
    container.tell(entry.tag, [Kind.STARTED], 100)
    detail = {"type": "ValueError"}
    container.tell(entry.tag, [Kind.ERROR, Code.REMOTE, 2, 1, "odd", detail], 100)
    error = error_of(container)
    assert isinstance(error, RemoteError) and error.error_type == "ValueError"
    assert error.remote_id is None and error.name == "engine-1" and error.executed is Executed.YES
    assert "engine 'engine-1'" in str(error) and "the engine's log" in str(error)


def test_deadlines_end_calls_and_tell_the_engine() -> None:
    container = Container()
    left = container.make(deadline=5.0)
    container.flush()
    kept = container.make(deadline=5.0)
    container.caller.expire(4.9)
    assert container.ended() == []
    container.caller.expire(5.0)
    errors = dict(container.ended())
    assert {type(error) for error in errors.values()} == {RequestTimeout}
    assert (errors[left.tag].executed, errors[kept.tag].executed) == (Executed.UNKNOWN, Executed.NO)
    assert container.flush() == [(left.tag, [Kind.CANCEL])]


def test_calls_end_with_their_request() -> None:
    container = Container()
    mine, other = container.make(), container.make(OTHER)
    container.flush()
    late = container.make()
    assert container.caller.on_parent_ended(PARENT)
    errors = dict(container.ended())
    assert set(errors) == {mine.tag, late.tag}
    assert all(isinstance(error, RequestCancelled) for error in errors.values())
    assert (errors[mine.tag].executed, errors[late.tag].executed) == (Executed.UNKNOWN, Executed.NO)
    assert container.flush() == [(mine.tag, [Kind.CANCEL])]
    assert not container.caller.on_parent_ended(PARENT)
    container.caller.discard(mine.tag, PARENT)
    container.caller.discard(other.tag, OTHER)
    assert not container.caller.on_parent_ended(OTHER)


def test_after_a_loss_they_are_sent_again_in_order() -> None:
    container = Container()
    first, second = container.make(), container.make()
    given_up = container.make()
    container.flush()
    third = container.make()
    container.caller.cancel(given_up)
    container.peer.detach(0.0)
    assert container.flush() == []
    container.hello()
    found = container.flush()
    assert found[0] == (given_up.tag, [Kind.CANCEL])
    assert [one for one, _ in found[1:]] == [first.tag, second.tag, third.tag]
    assert [record[1] for _, record in found[1:]] == [1, 2, 4]
    assert container.tracker.resent == 2


def test_the_end_of_the_session_ends_them() -> None:
    container = Container()
    left = container.make()
    container.flush()
    kept = container.make()
    container.caller.on_session_ended("the engine said GOODBYE")
    errors = dict(container.ended())
    assert all(isinstance(error, ConnectionClosed) for error in errors.values())
    assert (errors[left.tag].executed, errors[kept.tag].executed) == (Executed.UNKNOWN, Executed.NO)


def test_what_was_answered_is_acknowledged_with_later_calls() -> None:
    container = Container()
    for _ in range(40):
        entry = container.make()
        container.flush()
        container.tell(entry.tag, [Kind.RESPONSE, 1, None], 10)
    container.ended()
    last = container.make()
    kinds = [(one, record[0]) for one, record in container.flush()]
    assert (last.tag, Kind.REQUEST) in kinds
    assert len(container.tracker.reply_acks.tags) < 40


def test_no_acknowledgement_takes_the_place_of_another() -> None:
    container = Container(Limits(in_flight=1000), calls=1000)
    entries = [container.make() for _ in range(1000)]
    container.flush()
    for entry in entries:  # one burst: nothing leaves in between
        container.tell(entry.tag, [Kind.RESPONSE, 1, None], 10)
    container.ended()
    told = b"".join(record[2] for _, record in container.flush() if record[0] == Kind.RECEIVED)
    told += b"".join(container.tracker.reply_acks.tags)  # these are told later
    assert sorted(told[place : place + 16] for place in range(0, len(told), 16)) == sorted(e.tag for e in entries)


def test_a_message_that_was_not_taken_leaves_next_time() -> None:
    container = Container()
    entry = container.make()
    container.peer.outbox.put(QueuedRecord(tag(7), msgpack.packb([Kind.RESPONSE, 1, None])))
    for _ in range(2):
        outgoing = container.peer.next_outgoing(0.0)
        assert outgoing is not None
        while outgoing is not None and outgoing.items[0].tag != entry.tag:
            container.peer.on_sent(outgoing)
            outgoing = container.peer.next_outgoing(0.0)
        assert outgoing is not None
        outgoing.origin.requeue(outgoing)
        assert not entry.sent and len(container.peer.outbox) == 0
    assert [one for one, _ in container.flush()] == [entry.tag]


def test_an_engine_without_calls() -> None:
    container = Container(calls=0)
    with pytest.raises(Unsupported, match="takes no calls"):
        issue(container.caller, PARENT, "f")


def test_no_more_than_the_engine_takes() -> None:
    container = Container(calls=3)
    for _ in range(3):
        assert container.tracker.has_room(10)
        container.make()
    container.flush()
    assert not container.tracker.has_room(10)


# The engine's half


class Engine:
    """The callee of a link, with requests that are open."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        host = HandlerHost(Encoder(self.limits))
        self.nested_calls = NestedCallReceiver("box", REMOTE, host, self.limits, ReplyBudget(self.limits))
        self.pending: dict[bytes, PendingRequest] = {}
        self.window = SendWindow()
        self.nested_calls.attach(self.pending, self.window)
        self.window.open(512, 1 << 20)
        self.nested_calls.on_welcome({"batch_records": 256}, known=False)
        self.open(PARENT)

    def open(self, parent: bytes, *, sent: bool = True) -> None:
        self.pending[parent] = PendingRequest(parent, 1, Op.CALL, "work", b"", (), 0.0, None, True, False, None)
        self.pending[parent].sent = sent

    def says(self, one: bytes, *record: Any) -> bool:
        return self.nested_calls.receive(one, list(record), 100)

    def calls(self, number: int, parent: bytes = PARENT, sequence: int | None = None) -> bool:
        number_ = number if sequence is None else sequence
        return self.says(
            tag(number), Kind.REQUEST, number_, None, 0, Op.CALL, "f", [], None, None, UUID(bytes=parent)
        )  # fmt: skip

    def told(self) -> list[tuple[bytes, list[Any]]]:
        found = []
        while (outgoing := self.nested_calls.next_outgoing(0.0)) is not None:
            self.window.on_sent(outgoing.size)
            found += unpacked(outgoing.frames)
        return found

    def answer(self, number: int) -> None:
        reply = Reply(tag(number), msgpack.packb([Kind.RESPONSE, 1, None]), (), number, None)
        self.nested_calls.replies.keep(reply)
        self.nested_calls.outbox.put(reply)


def test_only_inside_a_request_that_has_left_and_is_open() -> None:
    engine = Engine()
    engine.open(OTHER, sent=False)
    engine.calls(1)
    engine.calls(2, OTHER)
    engine.calls(3, tag(9))
    batch, parents = engine.nested_calls.take()
    assert [request and request[1] for request in batch.requests] == [tag(1), None, None]
    assert batch.requests[0] is not None and len(batch.requests[0][2]) == 9
    assert [entry.tag for entry in parents] == [PARENT]
    assert [(one, record[:3]) for one, record in engine.told()] == [
        (tag(2), [Kind.ERROR, Code.CANCELLED, 0]),
        (tag(3), [Kind.ERROR, Code.CANCELLED, 0]),
    ]
    assert engine.nested_calls.credit == 1
    assert engine.nested_calls.parent_of(tag(1)) == UUID(bytes=PARENT) and engine.nested_calls.parent_of(tag(2)) is None


def test_what_may_have_run_before_its_request_ended_is_unknown() -> None:
    engine = Engine()
    engine.calls(5)
    engine.nested_calls.take()
    del engine.pending[PARENT]
    engine.nested_calls.close(PARENT)
    engine.calls(5)
    engine.calls(6)
    engine.nested_calls.take()
    assert [record[2] for _, record in engine.told()] == [1, 0]


def test_the_end_of_a_request_ends_what_is_inside() -> None:
    engine = Engine()
    engine.open(OTHER)
    for number in (1, 2):
        engine.calls(number)
    engine.calls(3, OTHER)
    assert len(engine.nested_calls.take()[1]) == 2
    engine.answer(1)
    engine.answer(3)
    engine.nested_calls.close(PARENT)
    batch, _ = engine.nested_calls.take()
    assert [one for _, one, _ in batch.cancels] == [tag(1), tag(2)]
    assert set(engine.nested_calls.replies.entries) == {tag(3)}
    assert [one for one, _ in engine.told()] == [tag(3)]
    engine.nested_calls.close(PARENT)
    assert not engine.nested_calls.has_asked


def test_a_request_that_is_issued_again_does_not_make_old_calls_new() -> None:
    engine = Engine()
    engine.calls(5)
    engine.nested_calls.take()
    del engine.pending[PARENT]
    engine.nested_calls.close(PARENT)
    engine.open(PARENT)
    assert engine.nested_calls.replies.stale_below == 6  # what runs them looks at it
    engine.nested_calls.on_welcome({}, known=False)
    assert engine.nested_calls.replies.stale_below == 0


def test_what_is_acknowledged_or_cancelled_is_forgotten() -> None:
    engine = Engine()
    for number in (1, 2, 3):
        engine.calls(number)
    engine.nested_calls.take()
    engine.answer(2)
    engine.says(LINK_TAG, Kind.RECEIVED, 1, tag(1))
    engine.says(tag(2), Kind.CANCEL)
    batch, parents = engine.nested_calls.take()
    assert parents == [] and [receipt[2:] for receipt in batch.acks] == [(1, tag(1))]
    assert engine.nested_calls.parent_of(tag(1)) is engine.nested_calls.parent_of(tag(2)) is None
    assert engine.nested_calls.parent_of(tag(3)) is not None
    assert len(engine.nested_calls.replies) == 0 and engine.told() == []


def test_what_was_acknowledged_on_a_connection_that_broke_is_forgotten_later() -> None:
    engine = Engine()
    for number in (1, 2, 3):
        engine.calls(number)
    engine.nested_calls.take()
    engine.says(LINK_TAG, Kind.RECEIVED, 3, b"")  # the one that named the first two was lost
    batch, _ = engine.nested_calls.take()
    assert [receipt[2:] for receipt in batch.acks] == [(3, tag(1) + tag(2))], "nor are their answers kept"
    assert [engine.nested_calls.parent_of(tag(number)) is not None for number in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(("known", "left"), [(True, 1), (False, 0)])
def test_another_instance_begins_anew(known: bool, left: int) -> None:
    engine = Engine()
    engine.calls(7)
    engine.nested_calls.take()
    engine.answer(7)
    engine.nested_calls.on_welcome({}, known=known)
    assert engine.told() == []  # it asks again
    assert len(engine.nested_calls.replies) == left
    assert len(engine.nested_calls.take()[0].cancels) == 1 - left
    engine.calls(1, tag(9))
    engine.nested_calls.take()
    assert engine.told()[0][1][2] == (1 if known else 0)


def test_records_that_mean_nothing() -> None:
    engine = Engine()
    assert not engine.calls(0)  # the tag of the link
    assert not engine.says(LINK_TAG, Kind.CANCEL)
    assert not engine.says(tag(1), Kind.RECEIVED, 1, b"")
    assert not engine.nested_calls.has_asked


def test_answers_count_against_the_window() -> None:
    engine = Engine()
    engine.window.open(2, 1 << 20)
    for number in range(1, 4):
        engine.nested_calls.on_malformed([tag(number)])
        if (outgoing := engine.nested_calls.next_outgoing(0.0)) is not None:
            engine.window.on_sent(outgoing.size)
    assert engine.nested_calls.next_outgoing(0.0) is None and len(engine.nested_calls.outbox) == 1
    engine.window.on_read(1, 0)
    assert engine.told()[0][0] == tag(3)


def test_a_container_that_does_not_read_is_a_flood() -> None:
    engine = Engine(Limits(in_flight=5, reply_entries=5))
    number = 0
    while not engine.nested_calls.is_overflowing:
        number += 1
        engine.calls(number, tag(9))
        engine.nested_calls.take()
        assert number < 20_000
    engine = Engine(Limits(in_flight=5, reply_entries=5))
    number = 0
    while not engine.nested_calls.is_overflowing:
        number += 1
        engine.calls(number)
        engine.nested_calls.take()
        assert number < 20_000


def test_the_end_of_the_link() -> None:
    engine = Engine()
    engine.calls(1)
    engine.nested_calls.take()
    engine.calls(2)
    engine.nested_calls.end()
    batch, _ = engine.nested_calls.take()
    assert batch.closed_sessions == {engine.nested_calls} and batch.requests == []
    assert engine.nested_calls.state is SessionState.CLOSED and engine.nested_calls.parent_of(tag(1)) is None


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["call", "cancel", "received", "close", "open", "answer", "asked", "lost", "restarted"]),
              st.integers(1, 6), st.integers(0, 2)),
    max_size=40,
)  # fmt: skip


@given(ACTIONS)
def test_whatever_is_said_the_books_of_an_engine_fit(actions: list[tuple[str, int, int]]) -> None:
    engine = Engine()
    nested_calls = engine.nested_calls
    parents = [PARENT, OTHER, tag(102)]
    for what, number, which in actions:
        parent = parents[which]
        if what == "call":
            engine.calls(number, parent)
        elif what == "cancel":
            engine.says(tag(number), Kind.CANCEL)
        elif what == "received":
            engine.says(LINK_TAG, Kind.RECEIVED, number, tag(number))
        elif what == "close":
            engine.pending.pop(parent, None)
            nested_calls.close(parent)
        elif what == "open":
            engine.open(parent)
        elif what == "answer" and nested_calls.parent_of(tag(number)) is not None:
            if tag(number) not in nested_calls.replies.entries:
                engine.answer(number)
        elif what == "asked":
            nested_calls.take()
        elif what in ("lost", "restarted"):
            nested_calls.on_welcome({}, known=what == "lost")
        assert set(nested_calls._parents) == {one for tags in nested_calls._open.values() for one in tags}
        assert all(
            nested_calls._parents[one][0] == parent for parent, tags in nested_calls._open.items() for one in tags
        )
    nested_calls.take()
    for parent in parents:
        nested_calls.close(parent)
    nested_calls.take()
    assert not nested_calls._parents and not nested_calls._open


def test_sessions_give_answers_to_calls() -> None:
    from mpzmq.protocol.responder.batch import RequestBatch
    from mpzmq.protocol.session.table import SessionTable

    sessions = SessionTable(UUID(int=1), "box", 2.0, Limits())
    hello = wire.hello(SESSION, 1, "engine-1", 2.0, Limits(), 10)
    sessions.receive(b"r", Message([(LINK_TAG, hello)]), RequestBatch(), 0.0)
    (peer,) = sessions.all()
    sessions.receive(b"r", Message([(tag(1), [Kind.RESPONSE, 1, 1])]), RequestBatch(), 0.0)
    assert sessions.ignored == 1
    caller = peer.open_caller()
    tags = []
    for _ in range(3):
        entry = issue(caller, PARENT, "f")
        caller.submit(entry, entry.tag, PARENT)
        tags.append(entry.tag)
    message = Message([(tags[0], [Kind.RESPONSE, 1, 1])], malformed=[tags[1], tag(9)])
    message.malformed_calls = [tags[2], tag(8)]
    batch = RequestBatch()
    sessions.receive(b"r", message, batch, 0.0)
    outcomes = [outcome for _, outcome in items(sessions.effects, ResolveRequests)]
    assert [type(outcome) for outcome in outcomes] == [list, ProtocolError, ProtocolError]
    assert batch.malformed == [(peer, tag(9))] and sessions.ignored == 2


def test_an_engine_that_does_not_come_back_is_not_waited_for() -> None:
    from mpzmq.protocol.responder.batch import RequestBatch
    from mpzmq.protocol.session.table import SessionTable

    limits = Limits(reply_ttl=60.0)
    sessions = SessionTable(UUID(int=1), "box", 2.0, limits)
    hello = wire.hello(SESSION, 1, "engine-1", 2.0, limits, 10)
    sessions.receive(b"r", Message([(LINK_TAG, hello)]), RequestBatch(), 0.0)
    (peer,) = sessions.all()
    peer.in_flight = 1
    caller = peer.open_caller()
    entry = issue(caller, PARENT, "f")
    caller.submit(entry, entry.tag, PARENT)
    peer.detach(0.0)
    sessions.tick(59.0, 10.0)
    assert not items(sessions.effects, ResolveRequests)
    sessions.tick(61.0, 10.0)
    ((_, error),) = items(sessions.effects, ResolveRequests)
    assert isinstance(error, ConnectionClosed) and error.executed is Executed.NO
