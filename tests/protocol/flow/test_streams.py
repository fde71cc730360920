"""Streams without I/O: an outflow and an inflow, and whatever a network does between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.protocol.flow.fragmenter import PART_BYTES
from mpzmq.protocol.flow.outbox import Item, Outbox
from mpzmq.protocol.flow.receive_stream import Arrivals, Inflow, Overdraft
from mpzmq.protocol.flow.send_stream import CROWDED, ITEM_COST, MOST_WAITING, MOST_WAITING_BYTES, Outflow
from mpzmq.protocol.flow.stream_scheduler import Outflows
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.messages import SLACK, Message, MessageDecoder
from mpzmq.protocol.wire.records import BATCH_BYTES

if TYPE_CHECKING:
    from mpzmq.protocol.flow.outbox import Outgoing

TAG = bytes(15) + b"\x01"
OTHER = bytes(15) + b"\x02"
ENCODER = Encoder(Limits())
READER = MessageDecoder(Limits(), Kind.RESPONSE)


def put(flow: Outflow, *items: Any) -> None:
    for item in items:
        buffers: list[Any] = []
        body = ENCODER.pack(ENCODER.prepare(item, "item", buffers))
        assert flow.put(body, buffers, len(body) + sum(map(len, buffers))) is flow.has_room


def chunks(outgoing: Outgoing | None) -> list[tuple[bytes, list[Any]]]:
    """The records of a message, as the other side reads them."""
    if outgoing is None:
        return []
    assert outgoing.size == sum(map(len, outgoing.frames))
    message = READER.decode(outgoing.frames)
    assert not message.malformed and not message.ignored
    return message.records


def sent(flows: Outflows) -> list[tuple[bytes, list[Any]]]:
    """All that may leave."""
    records = []
    while found := chunks(flows.cut(0.0)):
        records += found
    return records


def opened(flow: Outflow, *more: Outflow) -> Outflows:
    flows = Outflows(Limits(), [], Outbox(256), in_turn=True)
    for number, one in enumerate((flow, *more), 1):
        flows.open(bytes(15) + bytes((number,)), one)
        flows.stir(bytes(15) + bytes((number,)))
    return flows


def read(inflow: Inflow) -> list[Any]:
    items = []
    while inflow.take():
        while inflow.items:
            items.append(inflow.items.pop())
    return items


def test_what_was_put_in_leaves_as_one_chunk() -> None:
    flow = Outflow(10, 1000)
    put(flow, 1, "two", [3])
    flow.finish()
    ((tag, record),) = sent(opened(flow))
    assert (tag, record) == (TAG, [Kind.CHUNK, 0, 1 + 4 + 2, True, [1, "two", [3]]])


def test_no_more_items_leave_than_there_is_credit_for() -> None:
    flow = Outflow(2, 1000)
    put(flow, 1, 2, 3)
    flows = opened(flow)
    assert [record[4] for _, record in sent(flows)] == [[1, 2]]
    flows.credit(TAG, 0, 3, 1000)
    assert [record[1:] for _, record in sent(flows)] == [[2, 1, False, [3]]]


def test_the_last_item_may_exceed_the_bytes_and_no_other() -> None:
    flow = Outflow(100, 10)
    put(flow, "aaaa", "bbbbbbbbbbbb", "c")  # 5, 13, 2
    flows = opened(flow)
    assert [record[4] for _, record in sent(flows)] == [["aaaa", "bbbbbbbbbbbb"]]
    flows.credit(TAG, 1, 100, 18)
    assert sent(flows) == []
    flows.credit(TAG, 2, 100, 19)
    assert [record[4] for _, record in sent(flows)] == [["c"]]


def test_without_credit_nothing_leaves_but_the_end_of_nothing() -> None:
    flow = Outflow()
    put(flow, 1)
    flow.finish()
    assert sent(opened(flow)) == []
    empty = Outflow()
    empty.finish()
    flows = opened(empty)
    assert [record[1:] for _, record in sent(flows)] == [[0, 0, True, []]]
    assert not empty.is_received
    flows.credit(TAG, 1, 0, 0)
    assert empty.is_received


def test_an_item_with_a_buffer_is_alone() -> None:
    flow = Outflow(10, 1 << 20)
    large = bytes(20_000)
    put(flow, 1, large, memoryview(b"xy"), 2)
    records = []
    flows = opened(flow)
    while (outgoing := flows.cut(0.0)) is not None:
        records.append(([record[4] for _, record in chunks(outgoing)], len(outgoing.frames)))
    assert records == [([[1]], 2), ([[large]], 3), ([[memoryview(b"xy")]], 3), ([[2]], 2)]


def test_messages_are_cut_at_64_kib() -> None:
    flow = Outflow(10_000, 1 << 30)
    put(flow, *("x" * 1000 for _ in range(200)))
    flows = opened(flow)
    sizes = []
    while (outgoing := flows.cut(0.0)) is not None:
        sizes.append(outgoing.size)
    assert len(sizes) == 4 and max(sizes) <= BATCH_BYTES + 100 and min(sizes[:-1]) > BATCH_BYTES - 1200


def test_a_chunk_has_no_more_items_than_the_other_side_takes_in_an_array() -> None:
    flow = Outflow(10_000, 1 << 30)
    put(flow, *range(100))
    flows = opened(flow)
    flows.accept({"items": 40, "batch_records": 1}, 1)
    assert [len(record[4]) for _, record in sent(flows)] == [40, 40, 20]


def test_streams_take_turns_and_share_messages() -> None:
    one, two = Outflow(10, 1000), Outflow(10, 1000)
    put(one, 1, 2)
    put(two, 3)
    flows = opened(one, two)
    assert [(tag, record[4]) for tag, record in chunks(flows.cut(0.0))] == [(TAG, [1, 2]), (OTHER, [3])]
    assert not flows


def test_a_full_message_does_not_let_one_stream_starve_the_others() -> None:
    one, two = Outflow(10_000, 1 << 30), Outflow(10, 1000)
    put(one, *("x" * 1000 for _ in range(200)))
    put(two, 3)
    flows = opened(one, two)
    assert [tag for tag, _ in chunks(flows.cut(0.0))] == [TAG, OTHER], "each has its turn"


def test_what_the_transport_refuses_goes_first() -> None:
    flow = Outflow(10, 1000)
    put(flow, 1)
    flows = opened(flow)
    outgoing = flows.cut(0.0)
    assert outgoing is not None and not flows
    flows.take_back(outgoing)
    assert flows
    put(flow, 2)
    flows.stir(TAG)
    assert [record[4] for _, record in sent(flows)] == [[1], [2]]


def test_on_a_new_connection_the_other_side_speaks_first() -> None:
    flow = Outflow(10, 1000)
    put(flow, 1, 2, 3)
    flow.finish()
    flows = opened(flow)
    assert len(sent(flows)) == 1
    flows.pause()
    flows.stir(TAG)
    assert sent(flows) == []
    flows.credit(TAG, 1, 10, 1000)
    assert [record[1:] for _, record in sent(flows)] == [[1, 2, True, [2, 3]]]
    flows.credit(TAG, 4, 10, 1000)
    assert flow.is_received


def test_an_end_that_was_told_is_not_sent_again() -> None:
    flow = Outflow(10, 1000)
    put(flow, 1)
    flow.finish()
    flows = opened(flow)
    sent(flows)
    flows.pause()
    flows.credit(TAG, 2, 10, 1000)
    assert flow.is_received and sent(flows) == []


@pytest.mark.parametrize("received", [-1, 5, 1 << 70])
def test_a_credit_that_lies_is_taken_for_what_it_can_be(received: int) -> None:
    flow = Outflow(10, 1000)
    put(flow, 1, 2)
    flows = opened(flow)
    sent(flows)
    flows.credit(TAG, max(received, 0), 0, 0)
    put(flow, 3)
    flows.stir(TAG)
    assert [record[1:] for _, record in sent(flows)] == [[2, 1, False, [3]]]
    assert not flow.is_received


def test_room_is_bounded_in_items_and_bytes() -> None:
    flow = Outflow()
    flows = opened(flow)
    for _ in range(MOST_WAITING):
        assert flow.has_room
        put(flow, 1)
    assert not flow.has_room
    flow = Outflow()
    flows.open(OTHER, flow)
    put(flow, b"x" * MOST_WAITING_BYTES)
    assert not flow.has_room


def test_no_more_waits_than_the_limits_allow() -> None:
    flow = Outflow()
    Outflows(Limits(stream_items=2), [], Outbox(256), in_turn=True).open(TAG, flow)
    put(flow, 1)
    assert flow.has_room
    put(flow, 2)
    assert not flow.has_room
    flow = Outflow()
    Outflows(Limits(stream_bytes=100), [], Outbox(256), in_turn=True).open(TAG, flow)
    put(flow, bytes(100))
    assert not flow.has_room


def test_what_all_streams_keep_is_bounded_whatever_credit_is_given() -> None:
    flows = Outflows(Limits(message_bytes=1 << 16, queued_bytes=1 << 16), [], Outbox(256), in_turn=True)
    greedy, modest = Outflow(1 << 60, 1 << 60), Outflow(1 << 60, 1 << 60)
    flows.open(TAG, greedy)
    flows.open(OTHER, modest)
    while greedy.has_room:
        put(greedy, bytes(1000))
        flows.stir(TAG)
        sent(flows)
    assert 1 << 16 <= flows.crowd.cost == greedy.cost < (1 << 16) + 2000
    while modest.has_room:
        put(modest, bytes(1000))
        flows.stir(OTHER)
        sent(flows)
    assert CROWDED <= modest.cost < CROWDED + 2000
    flows.credit(OTHER, 3, 0, 0)
    assert modest.has_room
    flows.credit(TAG, greedy.sent, 0, 0)
    assert greedy.cost == 0 and greedy.has_room and flows.crowd.cost == modest.cost
    flows.close(OTHER)
    assert flows.crowd.cost == 0


def test_whoever_waits_for_room_is_woken_by_what_leaves() -> None:
    bells: list[Any] = []
    flows = Outflows(Limits(), bells, Outbox(256), in_turn=True)
    flow = Outflow(10_000, 1 << 30)
    flow.bell = "bell"
    put(flow, *range(MOST_WAITING))
    flows.open(TAG, flow)
    flows.stir(TAG)
    sent(flows)
    assert bells == ["bell"]


def test_a_failed_stream_takes_nothing_more_and_says_why() -> None:
    bells: list[Any] = []
    flows = Outflows(Limits(), bells, Outbox(256), in_turn=True)
    flow = Outflow(10, 1000)
    flow.bell = "bell"
    flows.open(TAG, flow)
    put(flow, 1)
    flows.stir(TAG)
    flows.fail(TAG, ValueError("why"))
    assert str(flow.failure) == "why" and bells == ["bell"] and not flows and not len(flows)
    flows.fail(TAG, ValueError("again"))
    assert not flows.credit(TAG, 0, 1, 1)


# The receiving half


def chunk(first: int, items: list[Any], size: int | None = None, *, last: bool = False) -> list[Any]:
    return [Kind.CHUNK, first, len(items) if size is None else size, last, items]


def test_items_come_in_order() -> None:
    inflow = Inflow(10, 100)
    assert inflow.arrive(chunk(0, ["a", "b"])) and inflow.arrive(chunk(2, ["c"], last=True))
    assert not inflow.is_over and read(inflow) == ["a", "b", "c"] and inflow.is_over


@pytest.mark.parametrize(
    "record",
    [
        chunk(1, ["a"]),  # a gap
        chunk(0, list(range(11))),  # more items than there is credit for
    ],
)
def test_what_may_not_come(record: list[Any]) -> None:
    inflow = Inflow(10, 100)
    assert not inflow.arrive(record)
    assert read(inflow) == []


def test_a_message_is_no_larger_than_its_chunks_say() -> None:
    one, two = (TAG, chunk(0, ["a"], 100)), (OTHER, chunk(0, ["b"], 0))
    assert Message([one], 100 + SLACK).has_declared_size and not Message([one], 101 + SLACK).has_declared_size
    assert (
        Message([one, two], 100 + 2 * SLACK).has_declared_size
        and not Message([one, two], 101 + 2 * SLACK).has_declared_size
    )


def test_credit_is_due_when_everything_was_taken_and_the_other_side_may_have_to_keep_less() -> None:
    inflow = Inflow(1024, 1 << 20)
    inflow.arrive(chunk(0, [1], CROWDED // 2 - ITEM_COST - 1))
    assert inflow.take() and not inflow.is_credit_due
    inflow.arrive(chunk(1, [2], 1))
    inflow.arrive(chunk(2, [3], 1))
    assert inflow.take() and not inflow.is_credit_due, "the next is there already"
    assert inflow.take() and inflow.is_credit_due
    assert inflow.credit()[1] == 3 and not inflow.is_credit_due


def test_beyond_the_bytes_one_item_may_come() -> None:
    inflow = Inflow(10, 100)
    assert inflow.arrive(chunk(0, ["a"], 99))
    assert inflow.arrive(chunk(1, ["b"], 1000))
    assert not inflow.arrive(chunk(2, ["c"], 1))


def test_what_has_come_comes_again_without_harm() -> None:
    inflow = Inflow(10, 100)
    record = chunk(0, ["a"], last=True)
    assert inflow.arrive(record) and inflow.arrive(record) and inflow.arrive(chunk(1, [], last=True))
    assert not inflow.arrive(chunk(1, ["b"])), "behind the end"
    assert read(inflow) == ["a"]


def test_credit_is_due_when_half_was_taken() -> None:
    inflow = Inflow(10, 100)
    inflow.arrive(chunk(0, list(range(4))))
    read(inflow)
    assert not inflow.is_credit_due
    inflow.arrive(chunk(4, [4]))
    assert not inflow.is_credit_due, "it has come, but nobody has read it"
    read(inflow)
    assert inflow.is_credit_due
    assert inflow.credit() == [Kind.CREDIT, 5, 15, 105]
    assert not inflow.is_credit_due
    inflow.arrive(chunk(5, [5], 50))
    read(inflow)
    assert inflow.is_credit_due, "half of the bytes"


def test_the_end_is_news_once() -> None:
    inflow = Inflow(10, 100)
    inflow.arrive(chunk(0, [1], last=True))
    assert inflow.is_end_news and inflow.credit()[1] == 2 and not inflow.is_end_news


def give(inflow: Inflow, number: int) -> None:
    """Gives items to a reader, who asks for each."""
    for _ in range(number):
        if not inflow.items:
            inflow.on_asked()
            assert inflow.take()
        inflow.items.pop()


def test_a_reader_is_done_when_it_gives_an_item_behind_all() -> None:
    inflow, flow = Inflow(10, 100), Outflow(10, 100)
    put(flow, 1, 2)
    flow.finish()
    flows = opened(flow)
    sent(flows)
    inflow.arrive(chunk(0, [1, 2], last=True))
    give(inflow, 1)
    inflow.on_answered()
    assert inflow.is_end_news and not inflow.is_handled
    _, received, items, size = inflow.credit()
    flows.credit(TAG, received, items, size)
    assert flow.is_received and not flow.is_handled
    give(inflow, 1)
    assert not inflow.is_handled, "it has the last, and works on it"
    inflow.on_answered()
    assert inflow.is_handled_news
    _, received, items, size = inflow.credit()
    assert received == 4 and not inflow.is_handled_news
    flows.credit(TAG, received, items, size)
    assert flow.is_handled


def test_a_reader_that_asks_for_the_end_is_done_behind_that() -> None:
    inflow = Inflow(10, 100)
    inflow.arrive(chunk(0, [1]))
    give(inflow, 1)
    inflow.on_answered()
    inflow.on_asked()
    inflow.arrive(chunk(1, [], last=True))
    assert not inflow.is_handled, "what it does at the end is to come"
    inflow.on_answered()
    assert inflow.is_handled


def test_a_reader_that_does_not_ask_is_done_as_the_end_comes() -> None:
    inflow = Inflow(10, 100)
    inflow.arrive(chunk(0, [1]))
    give(inflow, 1)
    inflow.on_answered()
    inflow.arrive(chunk(1, [], last=True))
    assert inflow.credit()[1] == 3


def test_results_are_never_said_to_be_handled() -> None:
    inflow = Inflow(10, 100)
    inflow.arrive(chunk(0, [], last=True))
    read(inflow)
    assert inflow.credit()[1] == 1


def test_after_clear_nothing_is_given_out() -> None:
    inflow = Inflow(10, 100)
    inflow.arrive(chunk(0, [1, 2]))
    inflow.take()
    inflow.arrive(chunk(2, [3]))
    inflow.clear()
    assert not inflow.items and not inflow.take()


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
    flow, inflow = Outflow(items, size), Inflow(items, size)
    flows = opened(flow)
    got: list[int] = []
    under_way: list[list[Any]] = []
    count = 0

    def give_credit(*, always: bool = False) -> None:
        if always or inflow.is_credit_due or inflow.is_end_news:
            _, *numbers = inflow.credit()
            flows.credit(TAG, *numbers)

    def deliver(most: int) -> None:
        for record in under_way[:most]:
            assert inflow.arrive(record)
            if inflow.is_end_news:
                give_credit()
        del under_way[:most]

    for step, amount in [*steps, ("end", 0)]:
        if step == "put":
            for _ in range(amount):
                put(flow, count)
                count += 1
            flows.stir(TAG)
        elif step == "send":
            under_way += [record for _, record in sent(flows)]
            deliver(amount)
        elif step == "read":
            for _ in range(amount):
                if inflow.take():
                    got += reversed(inflow.items)
                    inflow.items.clear()
            give_credit()
        elif step == "break":
            deliver(amount)
            under_way.clear()
            flows.pause()
            give_credit(always=True)
        assert inflow.received - len(got) <= items
    flow.finish()
    flows.stir(TAG)
    for _ in range(4 * count + 10):
        under_way += [record for _, record in sent(flows)]
        deliver(len(under_way))
        got += read(inflow)
        give_credit()
        if flow.is_received:
            break
    assert flow.is_received and inflow.is_over
    assert got == list(range(count))


# Items far beyond the credit


def test_only_one_stream_at_a_time_is_far_beyond_its_credit() -> None:
    one, two, three = Outflow(10, 100), Outflow(10, 100), Outflow(10, 100)
    put(one, "x" * 100_000)
    put(two, "y" * 100_000)
    put(three, "z")
    flows = opened(one, two, three)
    assert [(tag, len(record[4][0])) for tag, record in sent(flows)] == [(TAG, 100_000), (bytes(15) + b"\x03", 1)]
    flows.credit(OTHER, 0, 20, 200)
    assert sent(flows) == [], "the first one was not read"
    flows.credit(TAG, 1, 20, 100_200)
    assert [tag for tag, _ in sent(flows)] == [OTHER]


def test_results_do_not_wait_for_one_another() -> None:
    one, two = Outflow(10, 100), Outflow(10, 100)
    put(one, "x" * 100_000)
    put(two, "y" * 100_000)
    flows = Outflows(Limits(), [], Outbox(256), in_turn=False)
    for tag, flow in ((TAG, one), (OTHER, two)):
        flows.open(tag, flow)
        flows.stir(tag)
    assert [tag for tag, _ in sent(flows)] == [TAG, OTHER]
    flows.credit(TAG, 0, 10, 100)
    assert not sent(flows)


def test_the_end_of_the_one_lets_the_next_go() -> None:
    one, two = Outflow(10, 100), Outflow(10, 100)
    put(one, "x" * 100_000)
    put(two, "y" * 100_000)
    flows = opened(one, two)
    assert [tag for tag, _ in sent(flows)] == [TAG]
    flows.close(TAG)
    assert [tag for tag, _ in sent(flows)] == [OTHER]


def test_on_a_new_connection_the_one_is_still_the_one() -> None:
    one, two = Outflow(10, 100), Outflow(10, 100)
    put(one, "x" * 100_000)
    put(two, "y" * 100_000)
    flows = opened(one, two)
    sent(flows)
    flows.pause()
    flows.credit(TAG, 1, 10, 100)
    flows.credit(OTHER, 0, 10, 100)
    assert sent(flows) == []
    flows.credit(TAG, 1, 20, 100_200)
    assert [tag for tag, _ in sent(flows)] == [OTHER]


def test_who_sends_two_at_once_is_found_out() -> None:
    overdraft = Overdraft()
    one, two = Inflow(10, 100), Inflow(10, 100)
    for inflow, allowed in ((one, True), (two, False)):
        assert inflow.arrive(chunk(0, ["x"], 100_000))
        assert overdraft.allows(inflow) is allowed
    overdraft.release(one)
    assert overdraft.allows(two)
    two.take()
    two.credit()
    assert one.is_overdrawn and overdraft.allows(one), "the other one was read"


# Items that leave in parts


def large(number: int) -> memoryview:
    return memoryview(bytes((number,)) * (PART_BYTES + 10))


def in_parts(flows: Outflows, outbox: Outbox, most: int = 100) -> list[tuple[bytes, int]]:
    """Tag and size of what leaves; parts are taken at once."""
    seen = []
    for _ in range(most):
        outgoing = outbox.cut(0.0) or flows.cut(0.0)
        if outgoing is None:
            break
        outbox.left(outgoing)
        outbox.parts.taken(1 << 40)
        seen.append((bytes(outgoing.frames[0]), outgoing.part))
    return seen


def crowd(*flows: Outflow) -> tuple[Outflows, Outbox]:
    outbox = Outbox(256)
    opened = Outflows(Limits(), [], outbox, in_turn=False)
    for number, flow in enumerate(flows, 1):
        opened.open(bytes(15) + bytes((number,)), flow)
        opened.stir(bytes(15) + bytes((number,)))
    return opened, outbox


def test_a_large_item_leaves_in_parts_and_the_next_one_of_its_stream_waits_for_it() -> None:
    one, two = Outflow(10, 1 << 30), Outflow(10, 1 << 30)
    put(one, large(1), "next")
    put(two, "other")
    flows, outbox = crowd(one, two)
    first = flows.cut(0.0)
    assert first is not None and first.part == PART_BYTES
    outbox.left(first)
    outbox.parts.taken(1 << 40)
    assert [tag for tag, _ in in_parts(flows, outbox)] == [TAG, OTHER + TAG]


def test_others_pass_between_the_parts() -> None:
    one, two = Outflow(10, 1 << 30), Outflow(10, 1 << 30)
    put(one, memoryview(bytes(4 * PART_BYTES)))
    flows, outbox = crowd(one, two)
    seen = in_parts(flows, outbox, most=2)
    outbox.put(Item(OTHER, b"\xc0"))
    seen += in_parts(flows, outbox)
    assert [tag for tag, _ in seen] == [TAG, TAG, OTHER, TAG, TAG, TAG]


def test_a_large_item_that_was_lost_with_its_connection_leaves_again() -> None:
    flow = Outflow(10, 1 << 30)
    put(flow, large(1), "next")
    flows, outbox = crowd(flow)
    assert len(in_parts(flows, outbox, most=1)) == 1
    outbox.clear_control()
    flows.pause()
    assert not len(outbox) and not in_parts(flows, outbox)
    flows.credit(TAG, 0, 10, 1 << 30)
    assert [part for _, part in in_parts(flows, outbox)] == [PART_BYTES, pytest.approx(100, abs=100), 0]


def test_the_rest_of_a_large_item_is_not_sent_when_its_stream_has_ended() -> None:
    flow = Outflow(10, 1 << 30)
    put(flow, large(1))
    flows, outbox = crowd(flow)
    in_parts(flows, outbox, most=1)
    flows.close(TAG)
    assert not len(outbox) and not in_parts(flows, outbox) and outbox.large_bytes == 0


# Many streams, and what of them lies unread


class Reading:
    """Some streams to one reader, and what is under way between them: the reader asks, and reads, as it likes."""

    def __init__(self, count: int, limit: int, window: int) -> None:
        self.flows = Outflows(Limits(in_flight=count), [], Outbox(256), in_turn=False)
        self.flows.accept({"stream_items": 100, "stream_bytes": window, "unread_bytes": limit, "batch_records": 9}, 9)
        self.arrivals = Arrivals(limit)
        self.out = {number.to_bytes(16, "big"): Outflow(100, window) for number in range(count)}
        self.into = {tag: Inflow(100, window) for tag in self.out}
        self.got = dict.fromkeys(self.out, 0)
        self.put = dict.fromkeys(self.out, 0)
        self.sent: list[tuple[bytes, list[Any]]] = []
        self.told: list[tuple[bytes, list[int]]] = []
        self.opened: set[bytes] = set()
        self.waiting: set[bytes] = set()
        self.asked: set[bytes] = set()
        for inflow in self.into.values():
            self.arrivals.begin(inflow)

    def open(self, tag: bytes) -> None:
        if tag not in self.opened:
            self.opened.add(tag)
            self.flows.open(tag, self.out[tag])
            self.flows.stir(tag)

    def give(self, tag: bytes, size: int) -> None:
        body = b"\xc4" + bytes([size]) + bytes(size) if size < 256 else b"\xc5" + size.to_bytes(2, "big") + bytes(size)
        self.out[tag].put(body, (), len(body))
        self.put[tag] += 1
        if tag in self.opened:
            self.flows.stir(tag)

    def credit(self, tag: bytes, *, waits: bool = False) -> None:
        self.told.append((tag, self.into[tag].credit(waits=waits)[1:]))

    def tell_who_waits(self) -> None:
        if self.arrivals.has_news:
            for tag, _ in self.arrivals.wanted(lambda tag: True):
                self.credit(tag, waits=True)

    def travel(self) -> None:
        """What is under way arrives, in both directions."""
        for tag, numbers in self.told:
            self.flows.credit(tag, *numbers)
        self.told.clear()
        self.sent += sent(self.flows)
        for tag, record in self.sent:
            self.arrivals.came(tag)
            self.waiting.discard(tag)
            assert self.into[tag].arrive(record)
        self.sent.clear()
        self.tell_who_waits()

    def read(self, tag: bytes) -> bool:
        """Reads one chunk; False: there is none, and the reader waits."""
        inflow = self.into[tag]
        self.asked.add(tag)
        if not inflow.take():
            if tag not in self.waiting:  # a reader waits once, until something comes
                self.waiting.add(tag)
                self.arrivals.wait(tag, inflow)
                self.tell_who_waits()
            return False
        self.got[tag] += len(inflow.items)
        if inflow.is_credit_due:
            self.credit(tag)
        return True

    def lose(self) -> None:
        """The connection breaks: what is under way is lost, and the reader says on the next one where it is."""
        self.told.clear()
        sent(self.flows)
        self.flows.pause()
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
        assert there.arrivals.unread == sum(inflow.unread for inflow in there.into.values())
        assert there.arrivals.unread <= limit + BATCH_BYTES * (1 + len(there.asked))
    for tag in [tags[last], *tags]:
        there.open(tag)
        for _ in range(4 * there.put[tag] + 8):
            there.read(tag)
            there.travel()
        assert there.got[tag] == there.put[tag], "whatever lies unread in the others"
    assert there.flows.crowd.unread <= there.arrivals.unread + 5
