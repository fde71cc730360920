"""Parts that arrive: replies at a link, requests at a container's sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from mpzmq.config import Limits
from mpzmq.engine.reader import ComputerEngineReader
from mpzmq.errors import ConnectionLost, NotConnected, Overloaded, ProtocolError, RequestTimeout
from mpzmq.models import Executed
from mpzmq.protocol import wire
from mpzmq.protocol.effects import CutConnections
from mpzmq.protocol.flow.fragmenter import MAX_FRAMES, Fragmenter
from mpzmq.protocol.flow.outbox import QueuedRecord
from mpzmq.protocol.flow.send_stream import SendStream
from mpzmq.protocol.responder.batch import RequestBatch
from mpzmq.protocol.session import request_reassembly as intake
from mpzmq.protocol.session.table import SessionTable
from mpzmq.protocol.session.violations import REFUSED_ITEM
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.messages import MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.protocol import Pair, items, kinds, make_entry, numbers, tag

if TYPE_CHECKING:
    from mpzmq.protocol.session.session import EngineSession
    from mpzmq.protocol.wire.messages import Message

pytestmark = pytest.mark.usefixtures("parts_of_a_mib")

MIB = 1024 * 1024
LARGE = bytes(3 * MIB)
INSTANCE, SESSION = UUID(int=1), UUID(int=2)


def cut(item: QueuedRecord) -> list[list[Any]]:
    """The messages that carry an item in parts."""
    cutter = Fragmenter()
    cutter.begin(item)
    messages = []
    while cutter.item is not None:
        frames, size = cutter.next_fragment()
        messages.append([bytes(frame) if isinstance(frame, memoryview) else frame for frame in frames])
        cutter.on_sent(size)
    return messages


# A link


def reply(pair: Pair, number: int, value: Any = LARGE) -> list[Message]:
    """A RESPONSE in parts, as the link's reader gives them."""
    buffers: list[Any] = []
    body = pair.encoder.pack([Kind.RESPONSE, 1, pair.encoder.prepare(value, "value", buffers)])
    reader = MessageDecoder(pair.limits, Kind.RESPONSE)
    return [reader.decode(frames) for frames in cut(QueuedRecord(tag(number), body, buffers))]


def test_a_reply_in_parts() -> None:
    pair = Pair().up()
    pair.issue(1, 2)
    pair.flush()
    *first, last = reply(pair, 1)
    for message in first:
        pair.link.receive(message, pair.now)
        pair.reply(2) if pair.link.tracker.pending.get(tag(2)) else None
    assert list(pair.ended()) == [2], "a small one passes"
    pair.link.receive(last, pair.now)
    assert pair.ended()[1][2] == LARGE
    told = [record for _, record in pair.flush() if record[0] == Kind.TAKEN]
    assert told and told[-1][1] >= 3 * MIB
    assert pair.adds_up()


@pytest.mark.parametrize("way", ["cancelled", "deadline"])
def test_a_reply_whose_caller_goes_in_the_middle(way: str) -> None:
    pair = Pair().up()
    pair.issue(1, timeout=5.0)
    pair.flush()
    first, *rest = reply(pair, 1)
    pair.link.receive(first, pair.now)
    if way == "cancelled":
        pair.cancel(1)
    else:
        pair.now += 6
        pair.tick()
        assert isinstance(pair.ended()[1], RequestTimeout)
    assert numbers(pair.flush(), Kind.CANCEL) == [1]
    assert pair.link.requester.reassembly._assembler.total == 0, "its memory is free"
    for message in rest:
        pair.link.receive(message, pair.now)
    assert Kind.CANCEL not in kinds(pair.flush()), "once is enough"
    assert pair.adds_up() and not pair.ended()


def test_a_reply_that_nobody_waits_for_is_cancelled_at_its_first_part() -> None:
    pair = Pair().up()
    for message in reply(pair, 9):
        pair.link.receive(message, pair.now)
    assert numbers(pair.flush(), Kind.CANCEL) == [9]
    assert pair.link.statistics().late == 1


@pytest.mark.parametrize("fault", ["too large", "out of place", "another begins", "no reply", "never begun"])
def test_parts_of_a_reply_that_do_not_fit(fault: str) -> None:
    limits = Limits(message_bytes=2 * MIB) if fault == "too large" else None
    pair = Pair(limits=limits).up()
    pair.issue(1, 2)
    pair.flush()
    messages = reply(pair, 1)
    if fault == "out of place":
        del messages[1]
    elif fault == "another begins":
        messages[1:] = reply(pair, 2)
    elif fault == "never begun":
        del messages[0]
    elif fault == "no reply":
        entry = make_entry(pair.encoder, 1, data=LARGE)
        reader = MessageDecoder(pair.limits, Kind.RESPONSE)
        messages = [reader.decode(frames) for frames in cut(entry)]
    for message in messages:
        pair.link.receive(message, pair.now)
    ended = pair.ended()
    assert isinstance(ended.pop(1), ProtocolError)
    assert list(ended) == ([2] if fault == "another begins" else [])
    assert pair.adds_up()


def test_what_has_come_of_a_reply_is_dropped_with_its_connection() -> None:
    pair = Pair().up()
    pair.issue(1)
    pair.flush()
    pair.link.receive(reply(pair, 1)[0], pair.now)
    pair.lost()
    assert pair.link.requester.reassembly._assembler.total == 0
    pair.dialled()
    pair.flush()
    pair.welcome(resumed=True)
    assert numbers(pair.flush()) == [1]
    for message in reply(pair, 1):
        pair.link.receive(message, pair.now)
    assert pair.ended()[1][2] == LARGE


def parts(pair: Pair, most: int = 1000) -> list[int]:
    """Lets leave what may; returns what left, each PART as the negative of its number."""
    left = pair.flush(most)
    return [
        (-1 if record[0] == Kind.PART else 1) * int.from_bytes(name, "big")
        for name, record in left
        if record[0] in (Kind.PART, Kind.REQUEST)
    ]


def test_a_request_in_parts_has_left_with_its_last() -> None:
    pair = Pair().up()
    pair.issue(1, data=LARGE)
    entry = pair.link.tracker.pending[tag(1)]
    for _ in range(3):
        assert parts(pair, 1) == [-1]
        assert not entry.sent
    assert parts(pair) == [-1]
    assert entry.sent


@pytest.mark.parametrize("wait", [True, False])
def test_a_request_whose_connection_is_lost_in_the_middle_has_not_run(wait: bool) -> None:
    pair = Pair().up()
    pair.issue(1, data=LARGE, wait=wait)
    parts(pair, 2)
    pair.lost()
    ended = pair.ended()
    if not wait:
        assert isinstance(ended[1], NotConnected) and ended[1].executed is Executed.NO
        return
    assert not ended
    pair.dialled()
    pair.flush()
    pair.welcome(resumed=True)
    assert parts(pair) == 4 * [-1], "from the beginning"
    assert pair.link.statistics().resent == 0
    pair.reply(1)
    assert list(pair.ended()) == [1]


def test_one_that_had_left_is_sent_again_whole_and_may_have_run() -> None:
    pair = Pair().up()
    pair.issue(1, data=LARGE)
    assert parts(pair) == 4 * [-1]
    pair.lost()
    pair.dialled()
    pair.flush()
    pair.welcome(resumed=True)
    assert parts(pair, 2) == 2 * [-1]
    pair.lost()
    pair.dialled()
    pair.flush()
    pair.welcome(instance=UUID(int=9))
    error = pair.ended()[1]
    assert isinstance(error, ConnectionLost) and error.executed is Executed.UNKNOWN


@pytest.mark.parametrize("way", ["cancelled", "deadline", "refused"])
def test_a_request_that_ends_in_the_middle_of_its_parts(way: str) -> None:
    pair = Pair().up()
    pair.issue(1, data=LARGE, timeout=5.0)
    pair.issue(2, data=LARGE)
    assert parts(pair, 2) == 2 * [-1]
    if way == "cancelled":
        pair.cancel(1)
    elif way == "deadline":
        pair.now += 6
        pair.tick()
        error = pair.ended()[1]
        assert isinstance(error, RequestTimeout) and error.executed is Executed.NO
    else:
        pair.error(1, Code.OVERLOADED)
        assert isinstance(pair.ended()[1], Overloaded)
    left = pair.flush()
    assert numbers(left, Kind.CANCEL) == [1]
    assert set(numbers(left, Kind.PART)) == {2}
    assert pair.adds_up()


def test_small_requests_pass_but_those_of_the_same_function() -> None:
    pair = Pair().up()
    pair.issue(1, data=bytes(9 * MIB))
    assert parts(pair) == 5 * [-1], "of ten"
    pair.issue(2)
    pair.issue(3, function="other")
    assert parts(pair) == [3]
    pair.tell([Kind.TAKEN, 4 * MIB])
    assert parts(pair) == 4 * [-1]
    pair.tell([Kind.TAKEN, 8 * MIB])
    assert parts(pair) == [-1, 2]


def test_a_large_request_leaves_room_for_others() -> None:
    pair = Pair(limits=Limits(queued_bytes=MIB)).up()
    pair.issue(1, data=LARGE)
    tracker = pair.link.tracker
    assert tracker.has_room(100) and not tracker.has_room(2 * MIB)
    parts(pair, 1)
    assert tracker.has_room(100) and tracker.has_room(2 * MIB)


def test_what_has_too_many_buffers_for_parts_takes_the_room_of_others() -> None:
    pair = Pair(limits=Limits(queued_bytes=3 * MIB)).up()
    pair.issue(1, data=[memoryview(bytes(512)) for _ in range(MAX_FRAMES)])
    tracker = pair.link.tracker
    (entry,) = tracker.pending.values()
    assert tracker.outbox.bytes == entry.size > 2 * MIB and not tracker.outbox.large_bytes
    assert not tracker.has_room(entry.size, entry.buffers)


@pytest.mark.parametrize("resent", [False, True])
def test_a_container_that_drains_takes_no_new_request_in_the_middle(resent: bool) -> None:
    pair = Pair().up()
    pair.issue(1, data=LARGE)
    if resent:
        parts(pair)
        pair.lost()
        pair.dialled()
        pair.flush()
        pair.welcome(resumed=True)
    parts(pair, 2)
    pair.tell([Kind.GOODBYE, Goodbye.DRAINING, "SIGTERM"])
    left = pair.flush()
    if resent:
        assert numbers(left, Kind.PART) == [1, 1], "it may be running there"
        return
    assert numbers(left, Kind.PART) == [] and numbers(left, Kind.CANCEL) == [1]
    pair.lost()
    pair.dialled()
    pair.flush()
    pair.welcome(instance=UUID(int=9))
    assert parts(pair) == 4 * [-1]


@pytest.mark.parametrize("begun", [False, True])
def test_a_container_that_drains_gets_the_large_items_of_the_uploads_that_it_has_taken(begun: bool) -> None:
    pair = Pair().up()
    entry = pair.entry(1)
    entry.send_stream = SendStream()
    pair.link.tracker.issued += 1
    pair.link.tracker.submit(entry)
    pair.flush()
    pair.tell([Kind.CREDIT, 0, 100, 100 * MIB], tag=tag(1))
    for _ in range(2):
        body = pair.encoder.pack(b"x" * 2 * MIB)
        entry.send_stream.write(body, (), len(body))
    pair.link.tracker.send_streams.mark_ready(tag(1))
    if begun:
        assert parts(pair, 1) == [-1]
    pair.tell([Kind.GOODBYE, Goodbye.DRAINING, "SIGTERM"])
    pair.issue(2)
    pair.issue(3, data=LARGE)
    left = pair.flush() + pair.flush()
    pair.tell([Kind.TAKEN, 4 * MIB])
    left += pair.flush()
    assert {name for name, _ in left} == {tag(1)} and {record[0] for _, record in left} == {Kind.PART}
    assert len(left) == 6 - begun, "two items, each of two parts and a little"
    assert pair.link.statistics().resent == 0 and entry.send_stream.sent == 2


def test_whose_turn_it_is() -> None:
    encoder = Pair().encoder
    assert make_entry(encoder, 1, function="a").order_key == make_entry(encoder, 2, function="a").order_key
    assert make_entry(encoder, 1, function="a").order_key != make_entry(encoder, 2, function="b").order_key
    plain = make_entry(encoder, 3)
    plain.op, plain.function = Op.INVOKE, None
    state = make_entry(encoder, 4)
    state.op, state.function = Op.GETSTATE, None
    streamed = make_entry(encoder, 5, function="a")
    streamed.op = Op.STREAM
    assert plain.order_key != state.order_key
    assert streamed.order_key == make_entry(encoder, 1, function="a").order_key


# The sessions of a container


class Container:
    """Sessions, with one engine that has greeted, and what it hears."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.sessions = SessionTable(INSTANCE, "worker-7", 2.0, self.limits)
        self.reader = MessageDecoder(self.limits, Kind.REQUEST)
        self.now = 0.0
        self.peer = self.greet(b"r")

    def greet(self, route: bytes, session: UUID = SESSION, number: int = 1) -> EngineSession:
        hello = wire.hello(session, number, "engine-1", 2.0, self.limits)
        self.receive([LINK_TAG, self.sessions.encoder.pack(hello)], route)
        self.heard(peer := self.sessions.connected()[-1])
        return peer

    def receive(self, frames: list[Any], route: bytes = b"r") -> RequestBatch:
        batch = RequestBatch()
        self.sessions.receive(route, self.reader.decode(frames), batch, self.now)
        return batch

    def parts(self, number: int, timeout: float | None = 30.0, data: Any = LARGE) -> list[list[Any]]:
        deadline = None if timeout is None else timeout
        return cut(make_entry(self.sessions.encoder, number, number, deadline=deadline, data=data))

    def heard(self, peer: EngineSession) -> list[tuple[bytes, list[Any]]]:
        """Everything that the engine hears now."""
        reader = MessageDecoder(self.limits, Kind.RESPONSE)
        records = []
        while (outgoing := peer.next_outgoing(self.now)) is not None:
            peer.on_sent(outgoing)
            records += reader.decode(outgoing.frames).records
        return records

    def refused(self, batch: RequestBatch) -> list[tuple[int, int, int]]:
        """Number, code and executed of each refusal."""
        reader = MessageDecoder(self.limits, Kind.RESPONSE)
        told = []
        for _, item in batch.refused:
            ((name, record),) = reader.decode([item.tag, item.body]).records
            told.append((int.from_bytes(name, "big"), record[1], record[2]))
        return told


def test_a_request_in_parts() -> None:
    container = Container()
    *first, last = container.parts(1)
    for frames in first:
        batch = container.receive(frames)
        assert not batch.requests and not batch.refused
    container.now = 2.5
    batch = container.receive(last)
    ((peer, name, record, size),) = filter(None, batch.requests)
    assert (peer, name, record[6]) == (container.peer, tag(1), [LARGE])
    assert size > 3 * MIB
    assert record[2] == 30_001 - 2500, "its time counts from its first part"
    heard = container.heard(container.peer)
    assert [record[1] for _, record in heard if record[0] == Kind.TAKEN][-1] >= 3 * MIB
    assert container.sessions.uploads.room.bytes == 0


def test_a_cancel_in_the_middle() -> None:
    container = Container()
    first, *rest = container.parts(1)
    container.receive(first)
    assert container.sessions.uploads.room.bytes > 3 * MIB
    batch = container.receive([tag(1), b"\x91\x06"])
    assert batch.cancels == [(container.peer, tag(1), None)]
    assert container.sessions.uploads.room.bytes == 0
    for frames in rest:
        batch = container.receive(frames)
        assert not batch.requests and not batch.refused and not batch.malformed
    for frames in container.parts(1):
        batch = container.receive(frames)
    assert len(batch.requests) == 1, "the id may be issued again"


@pytest.mark.parametrize("way", ["superseded", "goodbye", "given up"])
def test_what_has_come_is_dropped_with_the_connection(way: str) -> None:
    container = Container()
    first, *rest = container.parts(1)
    container.receive(first)
    if way == "superseded":
        container.greet(b"s", number=2)
    elif way == "goodbye":
        container.receive([LINK_TAG, container.sessions.encoder.pack([Kind.GOODBYE, Goodbye.CLOSED, ""])])
    else:
        container.sessions.give_up(container.peer, "did not read", container.now)
    assert container.sessions.uploads.room.bytes == 0
    for frames in rest:
        batch = container.receive(frames)
        assert not batch.requests and not batch.refused


def test_a_request_larger_than_any() -> None:
    container = Container(Limits(message_bytes=2 * MIB))
    first, *rest = container.parts(1)
    assert container.refused(container.receive(first)) == [(1, Code.MALFORMED, 0)]
    for frames in rest:
        assert not container.receive(frames).refused
    assert container.sessions.uploads.room.bytes == 0


def test_all_engines_together_have_room_for_so_much() -> None:
    container = Container(Limits(queued_bytes=MIB))
    first = container.greet(b"s", UUID(int=3))
    container.receive(container.parts(1)[0], b"r")
    container.receive(container.parts(1)[0], b"s")
    container.greet(b"t", UUID(int=4))
    refused = container.receive(container.parts(1)[0], b"t")
    assert container.refused(refused) == [(1, Code.OVERLOADED, 0)]
    container.sessions.give_up(first, "did not read", container.now)
    assert not container.receive(container.parts(1)[0], b"t").refused


def test_a_request_beside_large_ones_that_run() -> None:
    container = Container(Limits(queued_bytes=4 * MIB))
    container.peer.in_flight, container.peer.large_in_flight = 1, 2 * MIB
    first = container.parts(1)[0]
    assert container.refused(container.receive(first)) == [(1, Code.OVERLOADED, 0)]
    container.sessions.is_running = lambda peer, name: True
    assert not container.receive(first).refused, "it has come again: it joins its run"


def test_one_that_has_come_before_may_have_run() -> None:
    container = Container(Limits(message_bytes=2 * MIB))
    container.sessions.is_running = lambda peer, name: True
    assert container.refused(container.receive(container.parts(1)[0])) == [(1, Code.MALFORMED, 1)]


@pytest.mark.parametrize("fault", ["out of place", "another begins", "never begun", "no request"])
def test_parts_of_a_request_that_do_not_fit(fault: str) -> None:
    container = Container()
    messages = container.parts(1)
    if fault == "out of place":
        del messages[1]
    elif fault == "another begins":
        messages[1:] = container.parts(2)
    elif fault == "never begun":
        del messages[0]
    else:
        messages = cut(QueuedRecord(tag(1), container.sessions.encoder.pack([Kind.RESPONSE, 1, "x" * 2 * MIB])))
    refused, requests = [], []
    for frames in messages:
        batch = container.receive(frames)
        refused += container.refused(batch)
        requests += batch.requests
        assert not batch.malformed
    assert set(refused) == {(1, Code.MALFORMED, 0)}
    assert len(requests) == (fault == "another begins")
    assert container.sessions.uploads.room.bytes == 0


def test_parts_under_the_tag_of_the_link() -> None:
    container = Container()
    first = container.parts(1)[0]
    batch = container.receive([LINK_TAG, *first[1:]])
    assert not batch.refused and container.sessions.ignored == 1


def test_a_request_whose_parts_stop_is_given_up() -> None:
    container = Container()
    container.receive(container.parts(1)[0])
    container.now = intake.PATIENCE + 1
    container.sessions.tick(container.now, 10.0)
    told = [record for name, record in container.heard(container.peer) if name == tag(1)]
    assert [record[:3] for record in told] == [[Kind.ERROR, Code.OVERLOADED, 0]]
    assert container.sessions.uploads.room.bytes == 0


def test_a_part_before_hello() -> None:
    container = Container()
    container.receive(container.parts(1)[0], b"x")
    ((route, frames),) = container.sessions.sessionless.take()
    assert route == b"x" and frames[0] == tag(1)


def test_a_reply_that_is_not_wanted_any_more_is_not_sent_on() -> None:
    container = Container()
    for number in (1, 2):
        container.peer.outbox.put(QueuedRecord(tag(number), b"body", [bytes(9 * MIB)]))
    heard = container.heard(container.peer)
    assert numbers(heard, Kind.PART) == 5 * [1]
    container.receive([tag(1) + tag(2), 2 * b"\x91\x06"])
    container.receive([LINK_TAG, container.sessions.encoder.pack([Kind.TAKEN, 4 * MIB])])
    assert container.heard(container.peer) == []
    assert not container.peer.outbox


def test_an_engine_that_does_not_say_what_it_has_read_is_deaf_in_the_end() -> None:
    container = Container(Limits(queued_bytes=2 * MIB))
    peer = container.peer
    peer.outbox.put(QueuedRecord(tag(1), b"body", [bytes(9 * MIB)]))
    container.heard(peer)
    assert peer.stalled_since == 0.0 and peer.is_unresponsive(0.0)
    mark = next(iter(peer._read_probe._pings))
    container.receive([LINK_TAG, container.sessions.encoder.pack([Kind.TAKEN, 4 * MIB])])
    assert peer.stalled_since is None and not peer.is_unresponsive(0.0)
    container.receive([LINK_TAG, container.sessions.encoder.pack([Kind.PONG, mark, 0, 0])])
    assert numbers(container.heard(peer), Kind.PART)


@pytest.mark.parametrize("behind", [1, 2])
def test_a_reply_that_breaks_off_since_its_request_was_cancelled_and_issued_again(behind: int) -> None:
    pair = Pair().up()
    pair.issue(1, chosen=True)
    pair.issue(2)
    pair.flush()
    pair.cancel(1)
    pair.issue(1, chosen=True)
    pair.flush()
    pair.link.receive(reply(pair, 1)[0], pair.now)  # it was on its way when the container read CANCEL
    for message in reply(pair, behind):
        pair.link.receive(message, pair.now)
    assert {number: record[2] for number, record in pair.ended().items()} == {behind: LARGE}
    pair.link.receive(reply(pair, 3 - behind)[0], pair.now)
    for message in reply(pair, 3 - behind):
        pair.link.receive(message, pair.now)
    assert isinstance(pair.ended()[3 - behind], ProtocolError), "only as often as it was told"


def test_parts_of_a_reply_are_no_flood_and_others_are() -> None:
    pair = Pair().up()
    pair.issue(1)
    pair.flush()
    buffers: list[Any] = []
    body = pair.encoder.pack([Kind.RESPONSE, 1, pair.encoder.prepare(LARGE, "value", buffers)])
    reader = ComputerEngineReader(pair.link, MessageDecoder(pair.limits, Kind.RESPONSE))
    pair.link._allowance._owed = 2
    for frames in cut(QueuedRecord(tag(1), body, buffers)):
        assert reader.feed([frames], pair.now, None) is None
    assert list(pair.ended()) == [1]
    told = [reader.feed([frames], pair.now, None) for frames in cut(QueuedRecord(tag(1), body, buffers))]
    assert told[:2] == [None, None] and None not in told[2:], "nobody waits for it any more"


# Items of streams


def item_parts(container: Container, number: int) -> list[list[Any]]:
    """The messages of an item of an upload, in parts."""
    buffers: list[Any] = []
    prepared = container.sessions.encoder.prepare(LARGE, "item", buffers)
    body = container.sessions.encoder.pack([Kind.CHUNK, 0, len(LARGE) + 9, True, [prepared]])
    return cut(QueuedRecord(tag(number), body, buffers))


def test_an_item_in_parts() -> None:
    container = Container()
    peer = container.greet(b"r")
    peer.open_receive_stream(tag(1))
    *first, last = item_parts(container, 1)
    for frames in first:
        container.receive(frames)
    assert not peer.receive_streams[tag(1)].has_ended
    container.receive(last)
    assert peer.receive_streams[tag(1)].pop_chunk() and peer.receive_streams[tag(1)].items == [LARGE]


def test_an_item_in_parts_of_an_upload_whose_function_ends_meanwhile() -> None:
    container = Container()
    peer = container.greet(b"r")
    peer.open_receive_stream(tag(1))
    first, second, *_ = item_parts(container, 1)
    container.receive(first)
    peer.close_receive_stream(tag(1))
    assert peer.reassembler.tag == b""
    batch = container.receive(second)
    assert not batch.refused and not items(container.sessions.effects, CutConnections), "what still comes is no error"


def test_an_item_whose_parts_do_not_fit_ends_the_connection() -> None:
    """Its function would wait for the rest."""
    container = Container()
    peer = container.greet(b"r")
    peer.open_receive_stream(tag(1))
    first, _, third, *_ = item_parts(container, 1)
    container.receive(first)
    container.receive(third)
    assert items(container.sessions.effects, CutConnections) == [(b"r", REFUSED_ITEM)]
    assert isinstance(peer.receive_streams[tag(1)].failure, ConnectionLost)


def test_parts_of_a_message_that_was_never_begun_are_answered_once() -> None:
    container = Container()
    container.greet(b"r")
    first, *rest = container.parts(1)
    refused = [container.refused(container.receive(frames)) for frames in rest]
    assert refused == [[(1, Code.MALFORMED, 0)], *[[]] * (len(rest) - 1)]
    for frames in [first, *rest[:-1]]:
        assert not container.receive(frames).refused, "begun anew, it is taken"
    assert container.receive(rest[-1]).requests
