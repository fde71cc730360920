"""Streams without I/O: a sending and a receiving half, and whatever a network does between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.protocol.effect_queue import EffectQueue
from mpzmq.protocol.effects import WakeStreams
from mpzmq.protocol.flow.outbox import Outbox, QueuedRecord
from mpzmq.protocol.flow.receive_stream import OversizeItemLimit, ReceiveBudget, ReceiveStream
from mpzmq.protocol.flow.send_stream import CROWDED, ITEM_COST, MAX_WAITING, MAX_WAITING_BYTES, SendStream
from mpzmq.protocol.flow.stream_scheduler import StreamScheduler
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.messages import SLACK, Message, MessageDecoder
from mpzmq.protocol.wire.records import BATCH_BYTES
from tests.support.protocol import items

if TYPE_CHECKING:
    from mpzmq.protocol.flow.outbox import OutgoingMessage

pytestmark = pytest.mark.usefixtures("parts_of_a_mib")

MIB = 1024 * 1024
TAG = bytes(15) + b"\x01"
OTHER = bytes(15) + b"\x02"
ENCODER = Encoder(Limits())
READER = MessageDecoder(Limits(), Kind.RESPONSE)


def put(flow: SendStream, *items: Any) -> None:
    for item in items:
        buffers: list[Any] = []
        body = ENCODER.pack(ENCODER.prepare(item, "item", buffers))
        assert flow.write(body, buffers, len(body) + sum(map(len, buffers))) is flow.has_room


def chunks(outgoing: OutgoingMessage | None) -> list[tuple[bytes, list[Any]]]:
    """The records of a message, as the other side reads them."""
    if outgoing is None:
        return []
    assert outgoing.size == sum(map(len, outgoing.frames))
    message = READER.decode(outgoing.frames)
    assert not message.malformed and not message.ignored
    return message.records


def sent(flows: StreamScheduler) -> list[tuple[bytes, list[Any]]]:
    """All that may leave."""
    records = []
    while found := chunks(flows.next_message(0.0)):
        records += found
    return records


def opened(flow: SendStream, *more: SendStream) -> StreamScheduler:
    flows = StreamScheduler(Limits(), EffectQueue(), Outbox(256), in_turn=True)
    for number, one in enumerate((flow, *more), 1):
        flows.open(bytes(15) + bytes((number,)), one)
        flows.mark_ready(bytes(15) + bytes((number,)))
    return flows


def read(receive_stream: ReceiveStream) -> list[Any]:
    items = []
    while receive_stream.pop_chunk():
        while receive_stream.items:
            items.append(receive_stream.items.pop())
    return items


def test_what_was_put_in_leaves_as_one_chunk() -> None:
    flow = SendStream(10, 1000)
    put(flow, 1, "two", [3])
    flow.finish()
    ((tag, record),) = sent(opened(flow))
    assert (tag, record) == (TAG, [Kind.CHUNK, 0, 1 + 4 + 2, True, [1, "two", [3]]])


def test_no_more_items_leave_than_there_is_credit_for() -> None:
    flow = SendStream(2, 1000)
    put(flow, 1, 2, 3)
    flows = opened(flow)
    assert [record[4] for _, record in sent(flows)] == [[1, 2]]
    flows.on_credit(TAG, 0, 3, 1000)
    assert [record[1:] for _, record in sent(flows)] == [[2, 1, False, [3]]]


def test_the_last_item_may_exceed_the_bytes_and_no_other() -> None:
    flow = SendStream(100, 10)
    put(flow, "aaaa", "bbbbbbbbbbbb", "c")  # 5, 13, 2
    flows = opened(flow)
    assert [record[4] for _, record in sent(flows)] == [["aaaa", "bbbbbbbbbbbb"]]
    flows.on_credit(TAG, 1, 100, 18)
    assert sent(flows) == []
    flows.on_credit(TAG, 2, 100, 19)
    assert [record[4] for _, record in sent(flows)] == [["c"]]


def test_without_credit_nothing_leaves() -> None:
    """Not even the end of nothing: who has not taken the request refuses what comes in front of that."""
    flow = SendStream()
    put(flow, 1)
    flow.finish()
    assert sent(opened(flow)) == []
    empty = SendStream()
    empty.finish()
    flows = opened(empty)
    assert sent(flows) == []
    flows.on_credit(TAG, 0, 1, 100)
    assert [record[1:] for _, record in sent(flows)] == [[0, 0, True, []]]
    assert not empty.is_received
    flows.on_credit(TAG, 1, 1, 100)
    assert empty.is_received


def test_an_item_with_a_buffer_is_alone() -> None:
    flow = SendStream(10, 1 << 20)
    large = bytes(20_000)
    put(flow, 1, large, memoryview(b"xy"), 2)
    records = []
    flows = opened(flow)
    while (outgoing := flows.next_message(0.0)) is not None:
        records.append(([record[4] for _, record in chunks(outgoing)], len(outgoing.frames)))
    assert records == [([[1]], 2), ([[large]], 3), ([[memoryview(b"xy")]], 3), ([[2]], 2)]


def test_messages_are_cut_at_64_kib() -> None:
    flow = SendStream(10_000, 1 << 30)
    put(flow, *("x" * 1000 for _ in range(200)))
    flows = opened(flow)
    sizes = []
    while (outgoing := flows.next_message(0.0)) is not None:
        sizes.append(outgoing.size)
    assert len(sizes) == 4 and max(sizes) <= BATCH_BYTES + 100 and min(sizes[:-1]) > BATCH_BYTES - 1200


def test_a_chunk_has_no_more_items_than_the_other_side_takes_in_an_array() -> None:
    flow = SendStream(10_000, 1 << 30)
    put(flow, *range(100))
    flows = opened(flow)
    flows.accept({"items": 40, "batch_records": 1}, 1)
    assert [len(record[4]) for _, record in sent(flows)] == [40, 40, 20]


def test_streams_take_turns_and_share_messages() -> None:
    one, two = SendStream(10, 1000), SendStream(10, 1000)
    put(one, 1, 2)
    put(two, 3)
    flows = opened(one, two)
    assert [(tag, record[4]) for tag, record in chunks(flows.next_message(0.0))] == [(TAG, [1, 2]), (OTHER, [3])]
    assert not flows


def test_a_full_message_does_not_let_one_stream_starve_the_others() -> None:
    one, two = SendStream(10_000, 1 << 30), SendStream(10, 1000)
    put(one, *("x" * 1000 for _ in range(200)))
    put(two, 3)
    flows = opened(one, two)
    assert [tag for tag, _ in chunks(flows.next_message(0.0))] == [TAG, OTHER], "each has its turn"


def test_what_the_transport_refuses_goes_first() -> None:
    flow = SendStream(10, 1000)
    put(flow, 1)
    flows = opened(flow)
    outgoing = flows.next_message(0.0)
    assert outgoing is not None and not flows
    flows.requeue(outgoing)
    assert flows
    put(flow, 2)
    flows.mark_ready(TAG)
    assert [record[4] for _, record in sent(flows)] == [[1], [2]]


def test_on_a_new_connection_the_other_side_speaks_first() -> None:
    flow = SendStream(10, 1000)
    put(flow, 1, 2, 3)
    flow.finish()
    flows = opened(flow)
    assert len(sent(flows)) == 1
    flows.on_connection_lost()
    flows.mark_ready(TAG)
    assert sent(flows) == []
    flows.on_credit(TAG, 1, 10, 1000)
    assert [record[1:] for _, record in sent(flows)] == [[1, 2, True, [2, 3]]]
    flows.on_credit(TAG, 4, 10, 1000)
    assert flow.is_received


def test_an_end_that_was_told_is_not_sent_again() -> None:
    flow = SendStream(10, 1000)
    put(flow, 1)
    flow.finish()
    flows = opened(flow)
    sent(flows)
    flows.on_connection_lost()
    flows.on_credit(TAG, 2, 10, 1000)
    assert flow.is_received and sent(flows) == []


@pytest.mark.parametrize("received", [-1, 5, 1 << 70])
def test_a_credit_that_lies_is_taken_for_what_it_can_be(received: int) -> None:
    flow = SendStream(10, 1000)
    put(flow, 1, 2)
    flows = opened(flow)
    sent(flows)
    flows.on_credit(TAG, max(received, 0), 0, 0)
    put(flow, 3)
    flows.mark_ready(TAG)
    assert [record[1:] for _, record in sent(flows)] == [[2, 1, False, [3]]]
    assert not flow.is_received


def test_room_is_bounded_in_items_and_bytes() -> None:
    flow = SendStream()
    flows = opened(flow)
    for _ in range(MAX_WAITING):
        assert flow.has_room
        put(flow, 1)
    assert not flow.has_room
    flow = SendStream()
    flows.open(OTHER, flow)
    put(flow, b"x" * MAX_WAITING_BYTES)
    assert not flow.has_room


def test_no_more_waits_than_the_limits_allow() -> None:
    flow = SendStream()
    StreamScheduler(Limits(stream_items=2), EffectQueue(), Outbox(256), in_turn=True).open(TAG, flow)
    put(flow, 1)
    assert flow.has_room
    put(flow, 2)
    assert not flow.has_room
    flow = SendStream()
    StreamScheduler(Limits(stream_bytes=100), EffectQueue(), Outbox(256), in_turn=True).open(TAG, flow)
    put(flow, bytes(100))
    assert not flow.has_room


def test_what_all_streams_keep_is_bounded_whatever_credit_is_given() -> None:
    flows = StreamScheduler(
        Limits(message_bytes=1 << 16, queued_bytes=1 << 16), EffectQueue(), Outbox(256), in_turn=True
    )
    greedy, modest = SendStream(1 << 60, 1 << 60), SendStream(1 << 60, 1 << 60)
    flows.open(TAG, greedy)
    flows.open(OTHER, modest)
    while greedy.has_room:
        put(greedy, bytes(1000))
        flows.mark_ready(TAG)
        sent(flows)
    assert 1 << 16 <= flows.budget.cost == greedy.cost < (1 << 16) + 2000
    while modest.has_room:
        put(modest, bytes(1000))
        flows.mark_ready(OTHER)
        sent(flows)
    assert CROWDED <= modest.cost < CROWDED + 2000
    flows.on_credit(OTHER, 3, 0, 0)
    assert modest.has_room
    flows.on_credit(TAG, greedy.sent, 0, 0)
    assert greedy.cost == 0 and greedy.has_room and flows.budget.cost == modest.cost
    flows.close(OTHER)
    assert flows.budget.cost == 0


def test_whoever_waits_for_room_is_woken_by_what_leaves() -> None:
    effects = EffectQueue()
    flows = StreamScheduler(Limits(), effects, Outbox(256), in_turn=True)
    flow = SendStream(10_000, 1 << 30)
    flow.waker = "bell"
    put(flow, *range(MAX_WAITING))
    flows.open(TAG, flow)
    flows.mark_ready(TAG)
    sent(flows)
    assert items(effects, WakeStreams) == ["bell"]


def test_a_failed_stream_takes_nothing_more_and_says_why() -> None:
    effects = EffectQueue()
    flows = StreamScheduler(Limits(), effects, Outbox(256), in_turn=True)
    flow = SendStream(10, 1000)
    flow.waker = "bell"
    flows.open(TAG, flow)
    put(flow, 1)
    flows.mark_ready(TAG)
    flows.fail(TAG, ValueError("why"))
    assert str(flow.failure) == "why" and items(effects, WakeStreams) == ["bell"] and not flows and not len(flows)
    flows.fail(TAG, ValueError("again"))
    assert not flows.on_credit(TAG, 0, 1, 1)


# The receiving half


def chunk(first: int, items: list[Any], size: int | None = None, *, last: bool = False) -> list[Any]:
    return [Kind.CHUNK, first, len(items) if size is None else size, last, items]


def test_items_come_in_order() -> None:
    receive_stream = ReceiveStream(10, 100)
    assert receive_stream.on_chunk(chunk(0, ["a", "b"])) and receive_stream.on_chunk(chunk(2, ["c"], last=True))
    assert not receive_stream.is_over and read(receive_stream) == ["a", "b", "c"] and receive_stream.is_over


@pytest.mark.parametrize(
    "record",
    [
        chunk(1, ["a"]),  # a gap
        chunk(0, list(range(11))),  # more items than there is credit for
    ],
)
def test_what_may_not_come(record: list[Any]) -> None:
    receive_stream = ReceiveStream(10, 100)
    assert not receive_stream.on_chunk(record)
    assert read(receive_stream) == []


def test_a_message_is_no_larger_than_its_chunks_say() -> None:
    one, two = (TAG, chunk(0, ["a"], 100)), (OTHER, chunk(0, ["b"], 0))
    assert Message([one], 100 + SLACK).has_declared_size and not Message([one], 101 + SLACK).has_declared_size
    assert (
        Message([one, two], 100 + 2 * SLACK).has_declared_size
        and not Message([one, two], 101 + 2 * SLACK).has_declared_size
    )


def test_credit_is_due_when_everything_was_taken_and_the_other_side_may_have_to_keep_less() -> None:
    receive_stream = ReceiveStream(1024, 1 << 20)
    receive_stream.on_chunk(chunk(0, [1], CROWDED // 2 - ITEM_COST - 1))
    assert receive_stream.pop_chunk() and not receive_stream.needs_credit
    receive_stream.on_chunk(chunk(1, [2], 1))
    receive_stream.on_chunk(chunk(2, [3], 1))
    assert receive_stream.pop_chunk() and not receive_stream.needs_credit, "the next is there already"
    assert receive_stream.pop_chunk() and receive_stream.needs_credit
    assert receive_stream.credit_record()[1] == 3 and not receive_stream.needs_credit


def test_beyond_the_bytes_one_item_may_come() -> None:
    receive_stream = ReceiveStream(10, 100)
    assert receive_stream.on_chunk(chunk(0, ["a"], 99))
    assert receive_stream.on_chunk(chunk(1, ["b"], 1000))
    assert not receive_stream.on_chunk(chunk(2, ["c"], 1))


def test_what_has_come_comes_again_without_harm() -> None:
    receive_stream = ReceiveStream(10, 100)
    record = chunk(0, ["a"], last=True)
    assert (
        receive_stream.on_chunk(record)
        and receive_stream.on_chunk(record)
        and receive_stream.on_chunk(chunk(1, [], last=True))
    )
    assert not receive_stream.on_chunk(chunk(1, ["b"])), "behind the end"
    assert read(receive_stream) == ["a"]


def test_credit_is_due_when_half_was_taken() -> None:
    receive_stream = ReceiveStream(10, 100)
    receive_stream.on_chunk(chunk(0, list(range(4))))
    read(receive_stream)
    assert not receive_stream.needs_credit
    receive_stream.on_chunk(chunk(4, [4]))
    assert not receive_stream.needs_credit, "it has come, but nobody has read it"
    read(receive_stream)
    assert receive_stream.needs_credit
    assert receive_stream.credit_record() == [Kind.CREDIT, 5, 15, 105]
    assert not receive_stream.needs_credit
    receive_stream.on_chunk(chunk(5, [5], 50))
    read(receive_stream)
    assert receive_stream.needs_credit, "half of the bytes"


def test_the_end_is_news_once() -> None:
    receive_stream = ReceiveStream(10, 100)
    receive_stream.on_chunk(chunk(0, [1], last=True))
    assert (
        receive_stream.end_unacknowledged
        and receive_stream.credit_record()[1] == 2
        and not receive_stream.end_unacknowledged
    )


def give(receive_stream: ReceiveStream, number: int) -> None:
    """Gives items to a reader, who asks for each."""
    for _ in range(number):
        if not receive_stream.items:
            receive_stream.on_asked()
            assert receive_stream.pop_chunk()
        receive_stream.items.pop()


def test_a_reader_is_done_when_it_gives_an_item_behind_all() -> None:
    receive_stream, flow = ReceiveStream(10, 100), SendStream(10, 100)
    put(flow, 1, 2)
    flow.finish()
    flows = opened(flow)
    sent(flows)
    receive_stream.on_chunk(chunk(0, [1, 2], last=True))
    give(receive_stream, 1)
    receive_stream.on_answered()
    assert receive_stream.end_unacknowledged and not receive_stream.is_handled
    _, received, items, size = receive_stream.credit_record()
    flows.on_credit(TAG, received, items, size)
    assert flow.is_received and not flow.is_handled
    give(receive_stream, 1)
    assert not receive_stream.is_handled, "it has the last, and works on it"
    receive_stream.on_answered()
    assert receive_stream.is_handled_news
    _, received, items, size = receive_stream.credit_record()
    assert received == 4 and not receive_stream.is_handled_news
    flows.on_credit(TAG, received, items, size)
    assert flow.is_handled


def test_a_reader_that_asks_for_the_end_is_done_behind_that() -> None:
    receive_stream = ReceiveStream(10, 100)
    receive_stream.on_chunk(chunk(0, [1]))
    give(receive_stream, 1)
    receive_stream.on_answered()
    receive_stream.on_asked()
    receive_stream.on_chunk(chunk(1, [], last=True))
    assert not receive_stream.is_handled, "what it does at the end is to come"
    receive_stream.on_answered()
    assert receive_stream.is_handled


def test_a_reader_that_does_not_ask_is_done_as_the_end_comes() -> None:
    receive_stream = ReceiveStream(10, 100)
    receive_stream.on_chunk(chunk(0, [1]))
    give(receive_stream, 1)
    receive_stream.on_answered()
    receive_stream.on_chunk(chunk(1, [], last=True))
    assert receive_stream.credit_record()[1] == 3


def test_results_are_never_said_to_be_handled() -> None:
    receive_stream = ReceiveStream(10, 100)
    receive_stream.on_chunk(chunk(0, [], last=True))
    read(receive_stream)
    assert receive_stream.credit_record()[1] == 1


def test_after_clear_nothing_is_given_out() -> None:
    receive_stream = ReceiveStream(10, 100)
    receive_stream.on_chunk(chunk(0, [1, 2]))
    receive_stream.pop_chunk()
    receive_stream.on_chunk(chunk(2, [3]))
    receive_stream.clear()
    assert not receive_stream.items and not receive_stream.pop_chunk()


# Both together

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 40)),
        st.tuples(st.just("send"), st.integers(1, 3)),
        st.tuples(st.just("read"), st.integers(1, 3)),
        st.tuples(st.just("break"), st.integers(0, 3)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 20), st.integers(1, 400))
def test_nothing_is_lost_twice_or_out_of_order_and_memory_is_bounded(
    steps: list[tuple[str, int]], items: int, size: int
) -> None:
    flow, receive_stream = SendStream(items, size), ReceiveStream(items, size)
    flows = opened(flow)
    got: list[int] = []
    under_way: list[list[Any]] = []
    count = 0

    def give_credit(*, always: bool = False) -> None:
        if always or receive_stream.needs_credit or receive_stream.end_unacknowledged:
            _, *numbers = receive_stream.credit_record()
            flows.on_credit(TAG, *numbers)

    def deliver(most: int) -> None:
        for record in under_way[:most]:
            assert receive_stream.on_chunk(record)
            if receive_stream.end_unacknowledged:
                give_credit()
        del under_way[:most]

    for step, amount in [*steps, ("end", 0)]:
        if step == "put":
            for _ in range(amount):
                put(flow, count)
                count += 1
            flows.mark_ready(TAG)
        elif step == "send":
            under_way += [record for _, record in sent(flows)]
            deliver(amount)
        elif step == "read":
            for _ in range(amount):
                if receive_stream.pop_chunk():
                    got += reversed(receive_stream.items)
                    receive_stream.items.clear()
            give_credit()
        elif step == "break":
            deliver(amount)
            under_way.clear()
            flows.on_connection_lost()
            give_credit(always=True)
        assert receive_stream.received - len(got) <= items
    flow.finish()
    flows.mark_ready(TAG)
    for _ in range(4 * count + 10):
        under_way += [record for _, record in sent(flows)]
        deliver(len(under_way))
        got += read(receive_stream)
        give_credit()
        if flow.is_received:
            break
    assert flow.is_received and receive_stream.is_over
    assert got == list(range(count))


# Items far beyond the credit


def test_only_one_stream_at_a_time_is_far_beyond_its_credit() -> None:
    one, two, three = SendStream(10, 100), SendStream(10, 100), SendStream(10, 100)
    put(one, "x" * 100_000)
    put(two, "y" * 100_000)
    put(three, "z")
    flows = opened(one, two, three)
    assert [(tag, len(record[4][0])) for tag, record in sent(flows)] == [(TAG, 100_000), (bytes(15) + b"\x03", 1)]
    flows.on_credit(OTHER, 0, 20, 200)
    assert sent(flows) == [], "the first one was not read"
    flows.on_credit(TAG, 1, 20, 100_200)
    assert [tag for tag, _ in sent(flows)] == [OTHER]


def test_results_do_not_wait_for_one_another() -> None:
    one, two = SendStream(10, 100), SendStream(10, 100)
    put(one, "x" * 100_000)
    put(two, "y" * 100_000)
    flows = StreamScheduler(Limits(), EffectQueue(), Outbox(256), in_turn=False)
    for tag, flow in ((TAG, one), (OTHER, two)):
        flows.open(tag, flow)
        flows.mark_ready(tag)
    assert [tag for tag, _ in sent(flows)] == [TAG, OTHER]
    flows.on_credit(TAG, 0, 10, 100)
    assert not sent(flows)


def test_the_end_of_the_one_lets_the_next_go() -> None:
    one, two = SendStream(10, 100), SendStream(10, 100)
    put(one, "x" * 100_000)
    put(two, "y" * 100_000)
    flows = opened(one, two)
    assert [tag for tag, _ in sent(flows)] == [TAG]
    flows.close(TAG)
    assert [tag for tag, _ in sent(flows)] == [OTHER]


def test_on_a_new_connection_the_one_is_still_the_one() -> None:
    one, two = SendStream(10, 100), SendStream(10, 100)
    put(one, "x" * 100_000)
    put(two, "y" * 100_000)
    flows = opened(one, two)
    sent(flows)
    flows.on_connection_lost()
    flows.on_credit(TAG, 1, 10, 100)
    flows.on_credit(OTHER, 0, 10, 100)
    assert sent(flows) == []
    flows.on_credit(TAG, 1, 20, 100_200)
    assert [tag for tag, _ in sent(flows)] == [OTHER]


def test_who_sends_two_at_once_is_found_out() -> None:
    oversize_limit = OversizeItemLimit()
    one, two = ReceiveStream(10, 100), ReceiveStream(10, 100)
    for receive_stream, allowed in ((one, True), (two, False)):
        assert receive_stream.on_chunk(chunk(0, ["x"], 100_000))
        assert oversize_limit.allows(receive_stream) is allowed
    oversize_limit.release(one)
    assert oversize_limit.allows(two)
    two.pop_chunk()
    two.credit_record()
    assert one.exceeds_credit and oversize_limit.allows(one), "the other one was read"


# Items that leave in parts


def large(number: int) -> memoryview:
    return memoryview(bytes((number,)) * (MIB + 10))


def in_parts(flows: StreamScheduler, outbox: Outbox, most: int = 100) -> list[tuple[bytes, int]]:
    """Tag and size of what leaves; parts are taken at once."""
    seen = []
    for _ in range(most):
        outgoing = outbox.next_message(0.0) or flows.next_message(0.0)
        if outgoing is None:
            break
        outbox.on_sent(outgoing)
        outbox.parts.on_taken(1 << 40)
        seen.append((bytes(outgoing.frames[0]), outgoing.part))
    return seen


def crowd(*flows: SendStream) -> tuple[StreamScheduler, Outbox]:
    outbox = Outbox(256)
    opened = StreamScheduler(Limits(), EffectQueue(), outbox, in_turn=False)
    for number, flow in enumerate(flows, 1):
        opened.open(bytes(15) + bytes((number,)), flow)
        opened.mark_ready(bytes(15) + bytes((number,)))
    return opened, outbox


def test_a_large_item_leaves_in_parts_and_the_next_one_of_its_stream_waits_for_it() -> None:
    one, two = SendStream(10, 1 << 30), SendStream(10, 1 << 30)
    put(one, large(1), "next")
    put(two, "other")
    flows, outbox = crowd(one, two)
    first = flows.next_message(0.0)
    assert first is not None and 0 < 2 * first.part - large(1).nbytes < 100
    outbox.on_sent(first)
    outbox.parts.on_taken(1 << 40)
    assert [tag for tag, _ in in_parts(flows, outbox)] == [TAG, OTHER + TAG]


def test_others_pass_between_the_parts() -> None:
    one, two = SendStream(10, 1 << 30), SendStream(10, 1 << 30)
    put(one, memoryview(bytes(4 * MIB)))
    flows, outbox = crowd(one, two)
    seen = in_parts(flows, outbox, most=2)
    outbox.put(QueuedRecord(OTHER, b"\xc0"))
    seen += in_parts(flows, outbox)
    assert [tag for tag, _ in seen] == [TAG, TAG, OTHER, TAG, TAG, TAG]


def test_a_large_item_that_was_lost_with_its_connection_leaves_again() -> None:
    flow = SendStream(10, 1 << 30)
    put(flow, large(1), "next")
    flows, outbox = crowd(flow)
    assert len(in_parts(flows, outbox, most=1)) == 1
    outbox.clear_control()
    flows.on_connection_lost()
    assert not len(outbox) and not in_parts(flows, outbox)
    flows.on_credit(TAG, 0, 10, 1 << 30)
    half = pytest.approx(MIB // 2, abs=100)
    assert [part for _, part in in_parts(flows, outbox)] == [half, half, 0]


def test_the_rest_of_a_large_item_is_not_sent_when_its_stream_has_ended() -> None:
    flow = SendStream(10, 1 << 30)
    put(flow, large(1))
    flows, outbox = crowd(flow)
    in_parts(flows, outbox, most=1)
    flows.close(TAG)
    assert not len(outbox) and not in_parts(flows, outbox) and outbox.large_bytes == 0


# Many streams, and what of them lies unread


class Reading:
    """Some streams to one reader, and what is under way between them: the reader asks, and reads, as it likes."""

    def __init__(self, count: int, limit: int, window: int) -> None:
        self.flows = StreamScheduler(Limits(in_flight=count), EffectQueue(), Outbox(256), in_turn=False)
        self.flows.accept({"stream_items": 100, "stream_bytes": window, "unread_bytes": limit, "batch_records": 9}, 9)
        self.receive_budget = ReceiveBudget(limit)
        self.out = {number.to_bytes(16, "big"): SendStream(100, window) for number in range(count)}
        self.into = {tag: ReceiveStream(100, window) for tag in self.out}
        self.got = dict.fromkeys(self.out, 0)
        self.put = dict.fromkeys(self.out, 0)
        self.sent: list[tuple[bytes, list[Any]]] = []
        self.told: list[tuple[bytes, list[int]]] = []
        self.opened: set[bytes] = set()
        self.waiting: set[bytes] = set()
        self.asked: set[bytes] = set()
        for receive_stream in self.into.values():
            self.receive_budget.begin(receive_stream)

    def open(self, tag: bytes) -> None:
        if tag not in self.opened:
            self.opened.add(tag)
            self.flows.open(tag, self.out[tag])
            self.flows.mark_ready(tag)

    def give(self, tag: bytes, size: int) -> None:
        body = b"\xc4" + bytes([size]) + bytes(size) if size < 256 else b"\xc5" + size.to_bytes(2, "big") + bytes(size)
        self.out[tag].write(body, (), len(body))
        self.put[tag] += 1
        if tag in self.opened:
            self.flows.mark_ready(tag)

    def credit(self, tag: bytes, *, waits: bool = False) -> None:
        self.told.append((tag, self.into[tag].credit_record(waits=waits)[1:]))

    def tell_who_waits(self) -> None:
        if self.receive_budget.has_news:
            for tag, _ in self.receive_budget.wanted(lambda tag: True):
                self.credit(tag, waits=True)

    def travel(self) -> None:
        """What is under way arrives, in both directions."""
        for tag, numbers in self.told:
            self.flows.on_credit(tag, *numbers)
        self.told.clear()
        self.sent += sent(self.flows)
        for tag, record in self.sent:
            self.receive_budget.on_chunk(tag)
            self.waiting.discard(tag)
            assert self.into[tag].on_chunk(record)
        self.sent.clear()
        self.tell_who_waits()

    def read(self, tag: bytes) -> bool:
        """Reads one chunk; False: there is none, and the reader waits."""
        receive_stream = self.into[tag]
        self.asked.add(tag)
        if not receive_stream.pop_chunk():
            if tag not in self.waiting:  # a reader waits once, until something comes
                self.waiting.add(tag)
                self.receive_budget.wait(tag, receive_stream)
                self.tell_who_waits()
            return False
        self.got[tag] += len(receive_stream.items)
        if receive_stream.needs_credit:
            self.credit(tag)
        return True

    def lose(self) -> None:
        """The connection breaks: what is under way is lost, and the reader says on the next one where it is."""
        self.told.clear()
        sent(self.flows)
        self.flows.on_connection_lost()
        for tag in self.into:
            self.credit(tag)
        self.tell_who_waits()


READINGS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["give", "give", "read", "open"]), st.integers(0, 4), st.integers(1, 60_000)),
        st.tuples(st.sampled_from(["travel", "lose"]), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(
    READINGS,
    st.lists(st.tuples(st.booleans(), st.integers(1, 60_000)), min_size=5, max_size=5),
    st.integers(0, 4),
    st.sampled_from([1, 1000, 70_000]),
    st.sampled_from([100, 20_000, 1 << 20]),
)
def test_little_lies_unread_and_each_stream_that_is_read_goes_on(
    steps: list[tuple[str, int, int]], first: list[tuple[bool, int]], last: int, limit: int, window: int
) -> None:
    there = Reading(5, limit, window)
    tags = list(there.out)
    for tag, (is_open, size) in zip(tags, first, strict=True):
        there.give(tag, size)
        if is_open:
            there.open(tag)
    there.travel()
    for step, number, size in steps:
        tag = tags[number]
        match step:
            case "give":
                there.give(tag, size)
            case "read":
                there.read(tag)
            case "open":
                there.open(tag)
            case "travel":
                there.travel()
            case "lose":
                there.lose()
        # One message beyond the limit, and one more for each that was asked for.
        assert there.receive_budget.unread == sum(receive_stream.unread for receive_stream in there.into.values())
        assert there.receive_budget.unread <= limit + BATCH_BYTES * (1 + len(there.asked))
    for tag in [tags[last], *tags]:
        there.open(tag)
        for _ in range(4 * there.put[tag] + 8):
            there.read(tag)
            there.travel()
        assert there.got[tag] == there.put[tag], "whatever lies unread in the others"
    assert there.flows.budget.unread <= there.receive_budget.unread + 5
