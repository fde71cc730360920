"""The queue of what leaves, and how messages are cut from it."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq import Limits
from mpzmq.protocol.flow.outbox import Outbox, QueuedRecord
from mpzmq.protocol.requester.request import PendingRequest, encode_request, remaining_ms
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Op
from mpzmq.protocol.wire.records import BATCH_BYTES, LINK_TAG
from tests.support.protocol import tag

pytestmark = pytest.mark.usefixtures("parts_of_a_mib")


def item(number: int, size: int = 10, buffers: tuple[bytes, ...] = ()) -> QueuedRecord:
    return QueuedRecord(tag(number), b"%d," % number + b"x" * (size - len(b"%d," % number)), buffers)


def cut(outbox: Outbox) -> list[int]:
    """The numbers of the next message."""
    outgoing = outbox.next_message(0.0)
    if outgoing is None:
        return []
    tags = bytes(outgoing.frames[0])
    return [int.from_bytes(tags[start : start + 16], "big") for start in range(0, len(tags), 16)]


def test_nothing_waits() -> None:
    outbox = Outbox(10)
    assert not outbox and len(outbox) == 0 and outbox.bytes == 0
    assert outbox.next_message(0.0) is None
    assert outbox.next_message(0.0, max_items=0) is None


def test_items_leave_in_order_in_one_message() -> None:
    outbox = Outbox(10)
    items = [item(number) for number in (1, 2, 3)]
    for one in items:
        outbox.put(one)
    assert outbox and len(outbox) == 3 and tag(2) in outbox
    assert outbox.bytes == sum(one.size for one in items) == 78
    outgoing = outbox.next_message(0.0)
    assert outgoing is not None
    assert outgoing.frames == [tag(1) + tag(2) + tag(3), b"".join(one.body for one in items)]
    assert (outgoing.items, outgoing.size) == (items, 78)
    assert not outbox and outbox.bytes == 0 and tag(2) not in outbox


def test_control_goes_before_items() -> None:
    outbox = Outbox(10)
    outbox.put(item(1))
    outbox.put_control(b"ping")
    outbox.put_control(b"cancel", tag(7))
    assert len(outbox) == 1
    outgoing = outbox.next_message(0.0)
    assert outgoing is not None
    assert outgoing.frames == [LINK_TAG + tag(7) + tag(1), b"pingcancel" + item(1).body]
    assert [one.tag for one in outgoing.items] == [tag(1)]
    assert outgoing.size == sum(map(len, outgoing.frames))


def test_control_of_one_kind_and_tag_is_replaced() -> None:
    outbox = Outbox(10)
    assert outbox.put_control(b"\x92\x08\x01")
    assert outbox.put_control(b"\x92\x07\x01")
    assert not outbox.put_control(b"\x92\x08\x02")
    assert outbox.put_control(b"\x91\x06", tag(7)) and outbox.put_control(b"\x91\x06", tag(8))
    outgoing = outbox.next_message(0.0)
    assert outgoing is not None
    assert outgoing.frames[1] == b"\x92\x07\x01" + b"\x92\x08\x02" + 2 * b"\x91\x06"


def test_what_the_transport_did_not_take_waits_in_front() -> None:
    outbox = Outbox(10)
    outbox.put(item(1))
    outbox.put_control(b"\x92\x07\x01")
    outgoing = outbox.next_message(0.0)
    assert outgoing is not None and not outbox
    outbox.put(item(2))
    outbox.put_control(b"\x92\x08\x01")
    outbox.requeue(outgoing)
    again = outbox.next_message(0.0)
    assert again is not None
    assert again.frames[1] == b"\x92\x07\x01" + b"\x92\x08\x01" + item(1).body + item(2).body
    assert outbox.bytes == 0


def test_control_may_leave_alone() -> None:
    outbox = Outbox(10)
    outbox.put(item(1))
    outbox.put_control(b"ping")
    outgoing = outbox.next_message(0.0, max_items=0)
    assert outgoing is not None and outgoing.frames == [LINK_TAG, b"ping"] and not outgoing.items
    assert outbox.next_message(0.0, max_items=0) is None
    assert cut(outbox) == [1]


def test_a_message_has_at_most_so_many_records() -> None:
    outbox = Outbox(3)
    for number in range(1, 6):
        outbox.put(item(number))
    for kind in range(4):
        outbox.put_control(bytes([0x91, kind]))
    assert cut(outbox) == [0, 0, 0]
    assert cut(outbox) == [0, 1, 2]
    assert cut(outbox) == [3, 4, 5]
    assert cut(outbox) == []


def test_a_message_has_at_most_so_many_bytes() -> None:
    outbox = Outbox(10)
    half = BATCH_BYTES // 2 - 16
    for number, size in ((1, half), (2, half), (3, half + 1), (4, half), (5, BATCH_BYTES * 2), (6, 10)):
        outbox.put(item(number, size))
    assert [cut(outbox) for _ in range(5)] == [[1, 2], [3], [4], [5], [6]]


def test_an_item_with_buffers_travels_alone() -> None:
    outbox = Outbox(10)
    large = item(2, 10, (b"a" * 20, b"b"))
    for one in (item(1), large, item(3), item(4, 10, (b"",))):
        outbox.put(one)
    assert large.size == 10 + 16 + 21
    assert cut(outbox) == [1]
    outgoing = outbox.next_message(0.0)
    assert outgoing is not None
    assert outgoing.frames == [tag(2), large.body, b"a" * 20, b"b"]
    assert outgoing.frames[2] is large.buffers[0]
    assert outgoing.size == large.size
    assert [cut(outbox), cut(outbox)] == [[3], [4]]
    assert outbox.bytes == 0


def test_control_before_an_item_with_buffers() -> None:
    outbox = Outbox(10)
    outbox.put(item(1, 10, (b"a",)))
    outbox.put_control(b"\x91\x06")
    assert [cut(outbox), cut(outbox)] == [[0], [1]]


def test_what_has_not_left_can_be_taken_back() -> None:
    outbox = Outbox(10)
    for number in (1, 2, 3):
        outbox.put(item(number))
    removed = outbox.remove(tag(2))
    assert removed is not None and removed.tag == tag(2)
    assert outbox.remove(tag(2)) is None
    assert outbox.bytes == 2 * item(1).size
    assert cut(outbox) == [1, 3]
    assert outbox.remove(tag(1)) is None


def test_what_did_not_leave_after_all_goes_first() -> None:
    outbox = Outbox(2)
    for number in (1, 2, 3):
        outbox.put(item(number))
    outgoing = outbox.next_message(0.0)
    assert outgoing is not None
    outbox.restore(outgoing.items)
    assert outbox.bytes == 3 * item(1).size
    assert [cut(outbox), cut(outbox)] == [[1, 2], [3]]
    assert outbox.bytes == 0


def test_clearing() -> None:
    outbox = Outbox(10)
    outbox.put(item(1))
    outbox.put_control(b"\x91\x06")
    outbox.clear_control()
    assert cut(outbox) == [1]
    outbox.put(item(2))
    outbox.put_control(b"\x91\x06")
    outbox.clear()
    assert not outbox and outbox.bytes == 0


def test_a_stale_item_is_refreshed_just_before_it_leaves() -> None:
    outbox = Outbox(10)
    for number, stale_at in ((1, 6.9), (2, 7.0), (3, 7.1)):
        body = encode_request(Encoder(Limits()), number, 1, 0, Op.CALL, "f", [], None, None)
        stale = PendingRequest(tag(number), number, Op.CALL, "f", body, (), 0.0, 10.0, True, False, None)
        stale.stale_at = stale_at
        outbox.put(stale)
    outgoing = outbox.next_message(7.0)
    assert outgoing is not None
    unpacker = msgpack.Unpacker()
    unpacker.feed(outgoing.frames[1])
    anew = remaining_ms(10.0, 7.0)
    assert [record[2] for record in unpacker] == [anew, anew, 1]


def test_a_second_item_of_one_tag_replaces_the_first() -> None:
    outbox = Outbox(10)
    outbox.put(item(1))
    outbox.put(item(1, 20))
    assert cut(outbox) == [1]
    assert outbox.bytes == 0


@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(
            st.sampled_from(["put", "control", "remove", "cut", "restore", "controls only"]),
            st.integers(1, 30),
            st.sampled_from([3, 100, 30_000, 70_000]),
            st.booleans(),
        ),
        max_size=60,
    ),
)
def test_bytes_are_those_of_the_items_that_wait(limit: int, steps: list[tuple[str, int, int, bool]]) -> None:
    outbox = Outbox(limit)
    waiting: dict[bytes, QueuedRecord] = {}
    last: list[QueuedRecord] = []
    for what, number, size, buffered in steps:
        if what == "put" and tag(number) not in waiting and tag(number) not in {one.tag for one in last}:
            waiting[tag(number)] = one = item(number, size, (b"buffer",) if buffered else ())
            outbox.put(one)
        elif what == "control":
            outbox.put_control(b"\x91\x06")
        elif what == "remove":
            assert outbox.remove(tag(number)) is waiting.pop(tag(number), None)
        elif what in ("cut", "controls only"):
            outgoing = outbox.next_message(0.0, max_items=None if what == "cut" else 0)
            last = []
            if outgoing is not None:
                last = list(outgoing.items)
                assert len(outgoing.frames[0]) // 16 <= limit
                assert outgoing.size == sum(map(len, outgoing.frames))
                # A restored item goes to the front, so only the order of those that are left is fixed.
                for one in last:
                    del waiting[one.tag]
        elif what == "restore":
            outbox.restore(last)
            waiting.update({one.tag: one for one in last})
            last = []
        assert outbox.bytes == sum(one.size for one in waiting.values())
        assert len(outbox) == len(waiting)


# Large items, in parts

MIB = 1024 * 1024


def turned(number: int, turn: str, mib: int = 0) -> PendingRequest:
    """A request, which keeps its order among those of the same function."""
    buffers = [bytes(mib * MIB)] if mib else ()
    return PendingRequest(tag(number), number, Op.CALL, turn, b"%d," % number, buffers, 0.0, None, True, False, None)


def leave(outbox: Outbox, max_items: int | None = None) -> str:
    """Sends the next message. Returns the numbers of its items, or that of the one it is a part of in brackets."""
    outgoing = outbox.next_message(0.0, max_items=max_items)
    if outgoing is None:
        return ""
    outbox.on_sent(outgoing)
    tags = bytes(outgoing.frames[0])
    names = "+".join(str(int.from_bytes(tags[start : start + 16], "big")) for start in range(0, len(tags), 16))
    return f"({names})" if outgoing.part else names


def read(outbox: Outbox) -> None:
    outbox.parts.on_taken(1 << 60)


def test_others_pass_between_parts_but_not_those_of_the_same_turn() -> None:
    outbox = Outbox(10)
    outbox.put(turned(1, "f", 3))
    assert leave(outbox) == "(1)"
    outbox.put(turned(2, "f"))
    outbox.put(turned(3, "g"))
    outbox.put_control(b"\x92\x07\x01")
    assert (outbox.bytes, outbox.large_bytes, len(outbox)) == (36, 0, 3)
    assert leave(outbox) == "0+3", "control, and what may pass"
    assert leave(outbox) == "(1)"
    outbox.put(turned(4, "g"))
    assert leave(outbox) == "4"
    outbox.put(turned(5, "g"))
    assert leave(outbox) == "(1)", "in turns, so that neither starves"
    assert tag(1) in outbox, "it has not left"
    assert leave(outbox) == "5"
    assert leave(outbox) == "(1)"
    assert tag(1) not in outbox and leave(outbox) == "2"
    assert not outbox and (outbox.bytes, outbox.large_bytes) == (0, 0)


def test_large_ones_keep_their_order_and_wait_for_what_stands_in_front() -> None:
    outbox = Outbox(10)
    for made in (turned(1, "f"), turned(2, "f", 2), turned(3, "g", 2), turned(4, "g"), turned(5, "h")):
        outbox.put(made)
    assert outbox.large_bytes == 2 * (2 * MIB + 18)
    assert leave(outbox) == "1+5", "nothing of its turn is behind its last part"
    left = [leave(outbox) for _ in range(3)]
    assert left == ["(2)", "(2)", "(2)"]
    read(outbox)
    assert [leave(outbox) for _ in range(5)] == ["(3)", "(3)", "(3)", "4", ""]


def test_only_so_many_parts_are_under_way() -> None:
    outbox = Outbox(10)
    outbox.put(turned(1, "f", 9))
    assert [leave(outbox) for _ in range(7)] == 5 * ["(1)"] + ["", ""], "ten parts, less than 1 MiB each"
    outbox.put(turned(2, "f"))
    assert leave(outbox) == ""
    outbox.put(turned(3, "g"))
    assert leave(outbox) == "3"
    outbox.parts.on_taken(MIB)
    assert [leave(outbox) for _ in range(2)] == ["(1)", ""]


def test_a_part_that_the_transport_did_not_take_leaves_again() -> None:
    outbox = Outbox(10)
    outbox.put(turned(1, "f", 2))
    outgoing = outbox.next_message(0.0)
    assert outgoing is not None and 0 < outgoing.part <= MIB and outgoing.items == ()
    outbox.requeue(outgoing)
    again = outbox.next_message(0.0)
    assert again is not None and again.frames[1] == outgoing.frames[1]
    assert [leave(outbox) for _ in range(4)] == ["(1)", "(1)", "(1)", ""]


def test_with_the_last_part_the_item_has_left() -> None:
    outbox = Outbox(10)
    large = turned(1, "f", 2)
    outbox.put(large)
    items = []
    while (outgoing := outbox.next_message(0.0)) is not None:
        items.append(list(outgoing.items))
        outbox.on_sent(outgoing)
    assert items == [[], [], [large]]


def test_one_that_is_taken_back_in_the_middle_is_cancelled() -> None:
    outbox = Outbox(10)
    outbox.put(turned(1, "f", 2))
    outbox.put(turned(2, "f", 2))
    assert outbox.remove(tag(2)) is not None
    assert not outbox.has_controls, "nothing of it had left"
    leave(outbox)
    assert outbox.remove(tag(1)) is not None
    outgoing = outbox.next_message(0.0)
    assert outgoing is not None and outgoing.frames == [tag(1), b"\x91\x06"]
    assert not outbox and (outbox.bytes, outbox.large_bytes) == (0, 0)
    outbox.put(turned(3, "f"))
    assert leave(outbox) == "3"


def test_one_that_the_other_side_does_not_want() -> None:
    outbox = Outbox(10)
    for number in (1, 2, 3):
        outbox.put(turned(number, "f", 2 if number < 3 else 0))
    leave(outbox)
    outbox.drop_fragmented(tag(1))
    outbox.drop_fragmented(tag(2))
    outbox.drop_fragmented(tag(3))
    outbox.drop_fragmented(tag(4))
    assert leave(outbox) == "3" and not outbox.has_controls and outbox.large_bytes == 0


def test_a_new_connection_begins_with_the_first_part() -> None:
    outbox = Outbox(10)
    outbox.put(turned(1, "f", 2))
    outbox.put_control(b"\x92\x07\x01")
    assert [leave(outbox) for _ in range(2)] == ["0", "(1)"]
    outbox.clear_control()
    assert outbox.large_bytes == 2 * MIB + 18
    assert [leave(outbox) for _ in range(4)] == ["(1)", "(1)", "(1)", ""]
    outbox.put(turned(1, "f", 2))
    leave(outbox)
    outbox.clear()
    assert not outbox and leave(outbox) == "" and outbox.parts.remaining == 0


def test_only_those_in_front_may_leave() -> None:
    outbox = Outbox(10)
    outbox.put(turned(1, "f", 2))
    outbox.put(turned(2, "g"))
    assert leave(outbox, max_items=0) == ""
    assert leave(outbox, max_items=1) == "(1)"
    assert leave(outbox, max_items=2) == "2"
