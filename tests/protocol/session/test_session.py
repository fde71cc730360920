"""The container's half: the session of one engine."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.models import Status
from mpzmq.protocol import wire
from mpzmq.protocol.effect_queue import EffectQueue
from mpzmq.protocol.flow.outbox import QueuedRecord
from mpzmq.protocol.flow.window import CONTROL_RESERVE, SendWindow
from mpzmq.protocol.responder.reply_cache import Reply, ReplyBudget
from mpzmq.protocol.responder.responder import HandlerHost
from mpzmq.protocol.responder.session_state import SESSION_TRANSITIONS, SLOW_FACTOR, SessionSignal, SessionState
from mpzmq.protocol.session.session import MAX_OLD_ROUTES, EngineSession
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.records import BATCH_BYTES, LINK_TAG
from tests.support.protocol import SESSION, tag


def hello(number: int, limits: Limits | None = None, interval: float = 2.0) -> list[Any]:
    return wire.hello(SESSION, number, f"engine-{number}", interval, limits or Limits())


def peer(limits: Limits | None = None, *, greeted: bool = True, interval: float = 2.0) -> EngineSession:
    limits = limits or Limits()
    made = EngineSession((None, SESSION), HandlerHost(Encoder(limits)), limits, EffectQueue(), ReplyBudget(limits))
    if greeted:
        made.on_hello(b"route-1", hello(1, interval=interval), 0.0)
    return made


def reply(number: int, size: int = 10) -> QueuedRecord:
    return QueuedRecord(tag(number), msgpack.packb([Kind.RESPONSE, 1, b"x" * size]))


def cut(peer: EngineSession, now: float = 0.0) -> list[list[Any]]:
    """The records of the next message."""
    outgoing = peer.next_outgoing(now)
    if outgoing is None:
        return []
    unpacker = msgpack.Unpacker()
    unpacker.feed(outgoing.frames[1])
    return list(unpacker)


def ping_of(one: EngineSession) -> int:
    """The number of the PING that leaves now."""
    (number,) = [record[1] for record in cut(one) if record[0] == Kind.PING]
    return int(number)


@pytest.mark.parametrize(("state", "signal"), list(itertools.product(SessionState, SessionSignal)))
def test_every_pair_leads_where_the_table_says(state: SessionState, signal: SessionSignal) -> None:
    one = peer()
    one.state = state
    one.signal(signal)
    assert one.state is SESSION_TRANSITIONS.get((state, signal), state)


def test_the_table() -> None:
    assert set(itertools.product(SessionState, SessionSignal)) - set(SESSION_TRANSITIONS) == {
        (SessionState.CONNECTED, SessionSignal.FORGOTTEN),
        (SessionState.DETACHED, SessionSignal.UNREACHABLE),
        *((SessionState.CLOSED, signal) for signal in SessionSignal),
    }
    assert not any(state is SessionState.CLOSED for state, _ in SESSION_TRANSITIONS), "CLOSED is the end"


def test_greeting() -> None:
    one = peer(Limits(message_bytes=10_000, batch_records=20), greeted=False)
    assert (one.state, one.number, one.routes) == (SessionState.DETACHED, -1, [b""])
    assert cut(one) == [], "nothing leaves without a connection"
    theirs = Limits(message_bytes=5000, batch_records=7)
    assert one.on_hello(b"route-1", hello(3, theirs), 5.0) == []
    assert (one.state, one.number, one.name, one.route) == (SessionState.CONNECTED, 3, "engine-3", b"route-1")
    assert (one.message_bytes, one.outbox.batch_records) == (5000, 7)
    one.on_hello(b"route-2", hello(4, Limits()), 6.0)
    assert (one.message_bytes, one.outbox.batch_records) == (10_000, 20)


def test_limits_that_were_not_announced() -> None:
    one = peer(Limits(message_bytes=10_000), greeted=False)
    record = hello(1)
    record[6] = {"a later version's": 1}
    one.on_hello(b"r", record, 0.0)
    assert (one.message_bytes, one.outbox.batch_records) == (10_000, 1)


def test_superseded_connections_are_remembered_for_a_while() -> None:
    one = peer()
    forgotten: list[bytes] = []
    for number in range(2, 14):
        forgotten += one.on_hello(b"route-%d" % number, hello(number), 0.0)
    assert one.route == b"route-13"
    assert one.routes == [b"route-%d" % number for number in range(13 - MAX_OLD_ROUTES, 14)]
    assert forgotten == [b"route-%d" % number for number in range(1, 13 - MAX_OLD_ROUTES)]


def test_a_second_hello_on_the_same_connection() -> None:
    one = peer()
    assert one.on_hello(b"route-1", hello(2), 0.0) == []
    assert one.routes == [b"route-1"]


def test_control_of_an_old_connection_is_dropped_and_replies_are_kept() -> None:
    one = peer()
    one.control([Kind.PONG, 1, 0, 0])
    one.outbox.put(reply(1))
    one.on_hello(b"route-2", hello(2), 0.0)
    assert [record[0] for record in cut(one)] == [Kind.RESPONSE]


def test_who_takes_nothing_is_deaf_and_who_is_slow_is_not() -> None:
    one = peer(Limits(queued_bytes=100))
    assert one.has_room(10_000), "one reply is taken whatever its size"
    one.outbox.put(reply(1, 50))
    one.outbox.put(reply(2, 50))
    assert one.has_room(SLOW_FACTOR * 100 - one.outbox.bytes)
    assert not one.has_room(SLOW_FACTOR * 100 - one.outbox.bytes + 1)
    assert not one.is_unresponsive(1e9), "its connection takes messages"
    assert not one.is_overflowing
    one.outbox.put(reply(3, SLOW_FACTOR * 100 + 100))
    assert one.is_overflowing
    one.outbox.remove(tag(3))
    one.stalled_since = 5.0
    assert one.is_unresponsive(5.0) and not one.is_unresponsive(4.9)
    one.outbox.remove(tag(2))
    assert not one.is_unresponsive(1e9), "what waits is little"
    one.on_hello(b"route-2", hello(2), 6.0)
    assert one.stalled_since is None


def test_a_message_that_the_transport_did_not_take_goes_first() -> None:
    one = peer()
    one.outbox.put(reply(1))
    outgoing = one.next_outgoing(0.0)
    assert outgoing is not None
    outgoing.origin.requeue(outgoing)
    one.outbox.put(reply(2))
    assert not one.has_read_all
    again = one.next_outgoing(0.0)
    assert again is not None and again.items[0] is outgoing.items[0] and len(again.items) == 2
    one.has_sent = True  # as the hub says
    assert not one.has_read_all and one.should_be_asked
    one.send_ping(1.0)
    assert one.on_pong(ping_of(one)) and one.has_read_all


def test_a_refused_message_waits_for_the_next_connection() -> None:
    one = peer()
    for number in (1, 2):
        one.outbox.put(reply(number))
    outgoing = one.next_outgoing(0.0)
    assert outgoing is not None
    outgoing.origin.requeue(outgoing)
    one.outbox.put(reply(3))
    one.on_hello(b"route-2", hello(2), 0.0)
    again = one.next_outgoing(0.0)
    assert again is not None
    assert [item.tag for item in again.items] == [tag(1), tag(2), tag(3)]


def test_a_connection_that_is_gone_leaves_its_replies_with_those_that_are_kept() -> None:
    one = peer()
    kept = Reply(tag(1), b"\x93\x04\x01\xc0", (), 1, None)
    one.replies.keep(kept)
    one.outbox.put(kept)
    one.outbox.put(reply(2))
    outgoing = one.next_outgoing(0.0)
    assert outgoing is not None
    outgoing.origin.requeue(outgoing)
    one.outbox.put(reply(3))
    one.detach(0.0)
    assert (one.state, one.has_read_all, one.should_be_asked) == (SessionState.DETACHED, False, False)
    assert list(one.replies.entries) == [tag(1)]
    one.replies.acknowledge(2, tag(1))
    assert one.has_read_all
    one.detach(0.0)
    one.outbox.put(reply(4))
    assert one.next_outgoing(0.0) is None
    one.on_hello(b"route-2", hello(2), 0.0)
    assert (one.state, len(cut(one))) == (SessionState.CONNECTED, 1)


def test_a_closed_session_sends_nothing() -> None:
    one = peer()
    one.outbox.put(reply(1))
    one.signal(SessionSignal.GOODBYE)
    assert one.next_outgoing(0.0) is None


def test_pong_tells_what_was_read() -> None:
    one = peer()
    one.on_received(100, 1.0)
    one.on_received(50, 1.0)
    one.send_pong(7)
    assert cut(one) == [[Kind.PONG, 7, 2, 150, 1, 0, 0]]


def test_pong_tells_how_busy_the_container_is() -> None:
    one = peer()
    one._host.load = lambda: (3, 12)
    one._host.status = Status.STOP
    one.send_pong(1)
    assert cut(one) == [[Kind.PONG, 1, 0, 0, 0, 3, 12]]


def test_pong_tells_how_things_are_when_it_leaves_and_answers_the_last_of_several_pings() -> None:
    """What came together with PING runs before anything leaves."""
    one = peer(Limits(window=80))
    load = (0, 0)
    one._host.load = lambda: load
    for number in (3, 5, 4):
        one.send_pong(number)
    for _ in range(20):
        one.on_received(10, 1.0)
    load = (2, 5)
    pong, ping = cut(one)
    assert pong == [Kind.PONG, 4, 20, 200, 1, 2, 5] and ping[0] == Kind.PING
    assert cut(one) == []


def test_a_ping_of_a_connection_that_is_gone_is_not_answered_on_the_next() -> None:
    one = peer()
    one.send_pong(1)
    one.on_hello(b"route-2", hello(2), 2.0)
    assert cut(one) == []


def test_pong_leaves_unasked_when_a_quarter_of_the_window_was_read() -> None:
    one = peer(Limits(window=80))
    for _ in range(20):
        assert cut(one) == []
        one.on_received(10, 1.0)
    one.outbox.put(reply(1))
    records = cut(one)
    assert records[0][:4] == [Kind.PONG, 0, 20, 200]
    assert [record[0] for record in records[1:]] == [Kind.PING, Kind.RESPONSE]
    assert cut(one) == []
    one.send_pong(1)
    assert [record[:4] for record in cut(one)] == [[Kind.PONG, 1, 20, 200]]
    for _ in range(20):
        one.on_received(10, 1.0)
    one.send_pong(1)
    pong, ping = cut(one)
    assert pong[:4] == [Kind.PONG, 1, 40, 400] and ping[0] == Kind.PING, "PONG has told already"


def test_with_a_small_window_pings_do_not_call_for_pings() -> None:
    """The message with a PONG counts as any other."""
    one = peer(Limits(window=1))
    pings = 0
    for _ in range(100):
        one.on_received(10, 1.0)
        for record in cut(one):
            if record[0] == Kind.PING:
                pings += 1
                assert one.on_pong(record[1])
    assert pings < 10


def test_a_new_connection_counts_anew() -> None:
    one = peer()
    one.on_received(10, 1.0)
    one.on_hello(b"route-2", hello(2), 2.0)
    one.on_received(5, 3.0)
    one.send_pong(2)
    assert cut(one) == [[Kind.PONG, 2, 1, 5, 1, 0, 0]]


def test_an_engine_that_is_silent_for_two_of_its_own_intervals_is_asked() -> None:
    one = peer(interval=3.0)
    assert not one.is_ping_due(5.9) and one.is_ping_due(6.0)
    one.on_received(1, 4.0)
    assert not one.is_ping_due(9.9) and one.is_ping_due(10.0)
    one.send_ping(10.0)
    assert ping_of(one)
    assert not one.is_ping_due(15.9) and one.is_ping_due(16.0)
    one.detach(0.0)
    assert not one.is_ping_due(100.0)


def test_all_is_read_when_the_last_ping_is_answered() -> None:
    one = peer()
    assert not one.has_read_all and one.should_be_asked, "it may ask again for what it has not got"
    one.send_ping(1.0)
    assert not one.has_read_all, "it waits"
    first = ping_of(one)
    one.has_sent = True  # a reply has left, as the driver says
    assert one.should_be_asked is False, "it is asked already"
    one.send_ping(2.0)
    second = ping_of(one)
    assert second != first and not one.has_read_all, "it is unanswered"
    assert one.on_pong(first)
    assert not one.has_read_all, "the reply stands behind that"
    assert one.on_pong(second) and one.has_read_all
    assert not one.on_pong(second) and not one.on_pong(second ^ 1)
    one.has_sent = True
    one.send_ping(3.0)
    third = ping_of(one)
    assert not one.on_pong(0), "an answer that nobody asked for counts for nothing"
    assert not one.has_read_all
    one.on_hello(b"route-2", hello(2), 4.0)
    assert one.should_be_asked and not one.on_pong(third), "a new connection answers for itself"


def test_an_engine_that_is_silent_for_days_costs_no_memory() -> None:
    one = peer()
    numbers = set()
    for now in range(1000):
        one.send_ping(float(now))
        numbers.add(ping_of(one))
    assert len(numbers) == 1 == len(one._read_probe._pings)


def test_an_engine_that_asks_and_does_not_read_costs_no_memory() -> None:
    one = peer()
    for _ in range(10_000):
        one.send_pong(1)
    records = 0
    while found := cut(one):
        records += len(found)
    assert records < 1000


@given(st.integers(1, 40), st.lists(st.integers(0, 4), max_size=600), st.booleans())
def test_an_engine_that_keeps_to_its_window_is_never_heedless(window: int, steps: list[int], greedy: bool) -> None:
    """Whatever the delays are: each side reads what the other has sent in order, when chance lets it."""
    limits = Limits(window=window)
    one, engine = peer(limits), SendWindow()
    engine.open(window, limits.queued_bytes)
    to_container: deque[list[Any] | None] = deque()
    to_engine: deque[list[Any]] = deque()
    echo: list[Any] | None = None

    def engine_sends() -> None:
        nonlocal echo
        while engine.has_room() or engine.has_control_room():
            to_container.append(echo)
            echo = None
            engine.on_sent(10)
            if not greedy:
                break

    for step in steps:
        if step <= 1:
            engine_sends()
        elif step == 2 and to_container:
            record = to_container.popleft()
            one.on_received(10, 1.0)
            assert not one.violates_window
            if record is not None:
                assert one.on_pong(record[1])
        elif step == 3:
            while (outgoing := one.next_outgoing(1.0)) is not None:
                one.on_sent(outgoing)
                unpacker = msgpack.Unpacker()
                unpacker.feed(outgoing.frames[1])
                to_engine.extend(unpacker)
        elif step == 4 and to_engine:
            record = to_engine.popleft()
            if record[0] == Kind.PONG:
                engine.on_read(record[2], record[3])
            else:
                echo = [Kind.PONG, record[1]]


def test_an_engine_that_was_busy_with_a_full_window_under_way_is_not_heedless() -> None:
    """The worst that one of ours can do: all that it may send is read before it has seen the first PING."""
    limits = Limits(window=40)
    one, engine = peer(limits), SendWindow()
    engine.open(limits.window, limits.queued_bytes)
    sent = 0
    while engine.has_control_room():
        engine.on_sent(10)
        sent += 1
    marks = 0
    for _ in range(sent):
        one.on_received(10, 1.0)
        assert not one.violates_window
        marks += sum(record[0] == Kind.PING for record in cut(one))
    assert marks and sent == limits.window + CONTROL_RESERVE


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_whoever_sends_on_and_echoes_nothing_is_heedless(size: int) -> None:
    limits = Limits(message_bytes=1 << 20, queued_bytes=4 << 20)
    one = peer(limits)
    count = 0
    while not one.violates_window:
        cut(one)
        one.on_received(size, 1.0)
        count += 1
    if size == 10:
        assert limits.window < count < 2 * limits.window + 2 * CONTROL_RESERVE
    else:
        assert (
            limits.queued_bytes < count * size < 2 * limits.queued_bytes + (1 << 20) + 2 * CONTROL_RESERVE * BATCH_BYTES
        )


def test_whether_anything_may_follow_a_message() -> None:
    one = peer(Limits(queued_bytes=200_000))

    def hand_over() -> tuple[list[int], bool]:
        """The kinds of records in the next message, and whether another may follow it."""
        outgoing = one.next_outgoing(5.0)
        assert outgoing is not None
        unpacker = msgpack.Unpacker()
        unpacker.feed(outgoing.frames[1])
        return [record[0] for record in unpacker], one.on_sent(outgoing)

    one.outbox.put(reply(1))
    assert hand_over() == ([Kind.RESPONSE], False)
    one.outbox.put(reply(2, 40_000))
    one.outbox.put(reply(3, 40_000))
    assert hand_over() == ([Kind.RESPONSE], True), "the other one waits"
    assert hand_over() == ([Kind.RESPONSE], True), "nothing waits, but behind so much a PING is due"
    assert hand_over() == ([Kind.PING], True)
    assert one.next_outgoing(5.0) is None


def test_no_more_is_handed_over_than_the_engine_has_shown_to_read() -> None:
    """libzmq would take 1,000 messages of any size for an engine that does not read."""
    limit, message = 200_000, 64 * 1024 + 1000
    one = peer(Limits(queued_bytes=limit))
    handed = 0

    marks: list[int] = []

    def hand_over() -> None:
        nonlocal handed
        while (outgoing := one.next_outgoing(5.0)) is not None:
            one.on_sent(outgoing)
            handed += outgoing.size
            unpacker = msgpack.Unpacker()
            unpacker.feed(outgoing.frames[1])
            marks.extend(record[1] for record in unpacker if record[0] == Kind.PING)

    for number in range(1, 101):
        one.outbox.put(reply(number, 20_000))
        hand_over()
    assert limit < handed < limit + message
    assert one.stalled_since == 5.0 and len(one.outbox) > 80
    before = handed
    assert 2 <= len(marks) <= 8 and len(set(marks)) == len(marks)
    # Nothing that it cannot have read moves it: a guess, and what only shows that it lives.
    assert not one.on_pong(marks[0] ^ 1)
    assert not one.on_pong(0)
    hand_over()
    assert handed == before
    assert one.on_pong(marks[0]), "what was sent before the first mark has been read"
    assert not one.on_pong(marks[0]), "it counts once"
    hand_over()
    assert 0 < handed - before <= limit + message
    assert len(one.outbox) > 60
    while one.outbox:
        assert one.on_pong(marks[-1]), "the last one speaks for all in front of it"
        hand_over()
    assert one.stalled_since is None or one.on_pong(marks[-1])
    assert one.stalled_since is None
    # Another connection begins with nothing unread.
    one.outbox.put(reply(1, 2 * limit))
    hand_over()
    one.on_hello(b"route-2", hello(2), 6.0)
    one.outbox.put(reply(2))
    hand_over()
    assert not one.outbox


def test_control_goes_under_the_link_tag() -> None:
    one = peer()
    one.control([Kind.GOODBYE, 1, "bye"])
    outgoing = one.next_outgoing(0.0)
    assert outgoing is not None and outgoing.frames[0] == LINK_TAG
