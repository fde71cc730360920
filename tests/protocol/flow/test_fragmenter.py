"""Large messages in parts: cut, and put together again."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.protocol.effects import EffectQueue, ReportProgress
from mpzmq.protocol.flow import fragmenter as parts
from mpzmq.protocol.flow.fragmenter import FRAGMENT_BYTES, Fragmenter, is_large
from mpzmq.protocol.flow.outbox import QueuedRecord
from mpzmq.protocol.flow.progress import ProgressTracker
from mpzmq.protocol.flow.reassembler import EXTRA_PARTS, MIN_PART_BYTES, FragmentResult, Reassembler, ReassemblyBudget
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.messages import MessageDecoder
from tests.support.protocol import items, tag, taken

READER = MessageDecoder(Limits(), Kind.REQUEST)
MIB = 1024 * 1024


def sizes_of(*sizes: int) -> bytes:
    return b"".join(struct.pack(">Q", size) for size in sizes)


def record_of(frames: list[Any]) -> list[Any]:
    """The PART of a message, as the other side reads it."""
    message = READER.decode([bytes(frames[0]), bytes(frames[1]), *frames[2:]])
    ((_, record),) = message.records
    assert not message.malformed and not message.ignored
    return record


def carried(cutter: Fragmenter, reassembler: Reassembler, *, tiny: bool = False) -> list[bytes]:
    """Carries the message under way over, part by part; returns it. ``tiny``: though its parts are a flood."""
    assert cutter.item is not None
    name = cutter.item.tag
    outcome = FragmentResult.TAKEN
    while cutter.item is not None:
        assert outcome is FragmentResult.TAKEN
        frames, size = cutter.next_fragment()
        assert cutter.next_fragment() == (frames, size), "it is the same until it has left"
        _, offset, sizes, pieces = record = record_of(frames)
        assert sum(map(len, pieces)) == size > 0
        if sizes is not None:
            assert reassembler.begin(name, sizes, 0.0) is FragmentResult.TAKEN
            reassembler._most_parts += 1_000_000 * tiny
        if reassembler.count(record):
            cutter.on_taken(reassembler.read())
        outcome = reassembler.on_fragment(name, offset, pieces, 0.0)
        cutter.on_sent(size)
    assert outcome is FragmentResult.WHOLE
    return [bytes(frame) for frame in reassembler.take_whole()]


@given(
    body=st.binary(min_size=1, max_size=3000),
    buffers=st.lists(st.binary(max_size=2000), max_size=300),
    most=st.integers(1, 2500),
)
def test_what_is_cut_comes_out_as_it_was(body: bytes, buffers: list[bytes], most: int) -> None:
    cutter, reassembler = Fragmenter(), Reassembler(64 * MIB)
    cutter.limit(parts.MARGIN + most, 100_000)
    cutter.begin(QueuedRecord(tag(1), body, buffers))
    assert carried(cutter, reassembler, tiny=True) == [tag(1), body, *buffers]
    assert cutter.remaining == 0 and reassembler.tag == b"" and reassembler.total == 0


def test_parts_are_pieces_of_the_memory_of_the_sender() -> None:
    data = memoryview(bytearray(3 * MIB))
    cutter = Fragmenter()
    cutter.begin(QueuedRecord(tag(1), b"body", [data]))
    frames, size = cutter.next_fragment()
    assert size == FRAGMENT_BYTES
    piece = frames[3]
    assert isinstance(piece, memoryview) and piece.obj is data.obj


def test_what_is_received_is_one_piece_of_memory_and_cannot_be_written_to() -> None:
    cutter, reassembler = Fragmenter(), Reassembler(64 * MIB)
    cutter.begin(QueuedRecord(tag(1), b"body", [bytes(MIB), b"x" * MIB]))
    while cutter.item is not None:
        frames, size = cutter.next_fragment()
        _, offset, sizes, pieces = record_of(frames)
        if sizes is not None:
            reassembler.begin(tag(1), sizes, 0.0)
        reassembler.on_fragment(tag(1), offset, pieces, 0.0)
        cutter.on_sent(size)
    _, body, one, other = reassembler.take_whole()
    assert body == b"body" and isinstance(body, bytes)
    assert isinstance(one, memoryview) and isinstance(other, memoryview)
    assert one.readonly and one.obj is other.obj and other == b"x" * MIB


def test_what_is_large() -> None:
    assert not is_large(FRAGMENT_BYTES, [b""])
    assert is_large(FRAGMENT_BYTES + 1, [b""])
    assert not is_large(2 * FRAGMENT_BYTES, [b""] * parts.MAX_FRAMES)


def test_a_part_fits_into_the_smallest_message_that_a_large_one_needs() -> None:
    cutter = Fragmenter()
    cutter.limit(FRAGMENT_BYTES + 1, 100_000)
    buffers = [b"x" * (FRAGMENT_BYTES // (parts.MAX_FRAMES - 1))] * (parts.MAX_FRAMES - 1)
    item = QueuedRecord(tag(1), b"body" * 1000, buffers)
    assert is_large(item.size, item.buffers)
    cutter.begin(item)
    while cutter.item is not None:
        frames, size = cutter.next_fragment()
        assert sum(map(len, frames)) <= FRAGMENT_BYTES + 1 and len(frames) <= 2 + parts.MAX_PIECES
        cutter.on_sent(size)


def test_a_part_has_no_more_pieces_than_the_receiver_takes_in_an_array() -> None:
    cutter, pieces = Fragmenter(), []
    cutter.limit(64 * MIB, 20)
    cutter.begin(QueuedRecord(tag(1), b"body", [bytes(20_000)] * 59))
    while cutter.item is not None:
        frames, size = cutter.next_fragment()
        pieces.append(len(record_of(frames)[3]))
        cutter.on_sent(size)
    assert pieces == [20, 20, 20]


def test_the_receiver_has_to_read_before_more_may_leave() -> None:
    cutter = Fragmenter()
    cutter.begin(QueuedRecord(tag(1), b"body", [bytes(10 * MIB)]))
    sent = 0
    while not cutter.is_held_back:
        _, size = cutter.next_fragment()
        cutter.on_sent(size)
        sent += size
    assert sent == parts.UNREAD_BYTES
    assert cutter.remaining == 10 * MIB + 4 - sent
    assert not cutter.on_taken(0) and cutter.is_held_back
    assert cutter.on_taken(1) and not cutter.is_held_back
    assert not cutter.on_taken(1), "told before"
    cutter.on_sent(cutter.next_fragment()[1])
    assert cutter.is_held_back
    assert cutter.on_taken(1 << 60), "no more than was sent is believed"
    assert not cutter.is_held_back
    for _ in range(4):
        cutter.on_sent(cutter.next_fragment()[1])
    assert cutter.is_held_back


def test_what_was_sent_before_counts_until_it_is_read() -> None:
    cutter = Fragmenter()
    cutter.begin(QueuedRecord(tag(1), b"", [bytes(parts.UNREAD_BYTES)]))
    while cutter.item is not None:
        cutter.on_sent(cutter.next_fragment()[1])
    cutter.begin(QueuedRecord(tag(2), b"", [bytes(2 * MIB)]))
    assert cutter.is_held_back
    cutter.restart()
    assert cutter.item is None and not cutter.is_held_back
    cutter.begin(QueuedRecord(tag(2), b"", [bytes(2 * MIB)]))
    assert not cutter.is_held_back


def test_progress_is_what_was_read_of_each() -> None:
    effects = EffectQueue()
    book = ProgressTracker(effects)
    book.watched[tag(1)], book.watched[tag(2)] = [0] * 4, [0] * 4
    cutter = Fragmenter(book)
    for number in (1, 2, 3):
        cutter.begin(QueuedRecord(tag(number), b"", [bytes(2 * MIB)]))
        while cutter.item is not None:
            cutter.on_sent(cutter.next_fragment()[1])
            if number == 3:
                break
    taken(effects)
    cutter.on_taken(MIB)
    assert book.watched[tag(1)] == [MIB, 2 * MIB, 0, 0] and items(effects, ReportProgress) == [tag(1)]
    cutter.on_taken(3 * MIB)
    assert book.watched[tag(1)] == [2 * MIB, 2 * MIB, 0, 0]
    assert book.watched[tag(2)] == [MIB, 2 * MIB, 0, 0]
    assert cutter.stop()
    cutter.on_taken(5 * MIB)
    assert book.watched[tag(2)] == [2 * MIB, 2 * MIB, 0, 0]
    assert tag(3) not in book.watched


def test_a_message_that_is_stopped_begins_anew() -> None:
    cutter, reassembler = Fragmenter(), Reassembler(64 * MIB)
    item = QueuedRecord(tag(1), b"body", [bytes(3 * MIB)])
    cutter.begin(item)
    assert not cutter.stop(), "nothing of it had left"
    cutter.begin(item)
    cutter.on_sent(cutter.next_fragment()[1])
    assert cutter.stop() and cutter.remaining == 0
    cutter.begin(item)
    assert carried(cutter, reassembler) == [tag(1), b"body", bytes(3 * MIB)]


# The assembler, whatever comes


def test_too_much_is_refused_before_memory_is_set_aside() -> None:
    reassembler = Reassembler(1000)
    assert reassembler.begin(tag(1), sizes_of(900, 85), 0.0) is FragmentResult.TOO_LARGE
    assert reassembler.begin(tag(1), sizes_of(1 << 63, 1 << 63), 0.0) is FragmentResult.TOO_LARGE
    assert reassembler.tag == b"" and reassembler.total == 0
    assert reassembler.begin(tag(1), sizes_of(900, 84), 0.0) is FragmentResult.TAKEN


@pytest.mark.parametrize("sizes", [sizes_of(0), sizes_of(0, 0), sizes_of(*[1] * (parts.MAX_FRAMES + 1))])
def test_sizes_that_are_none(sizes: bytes) -> None:
    assert Reassembler(64 * MIB).begin(tag(1), sizes, 0.0) is FragmentResult.MALFORMED


def test_memory_that_the_system_does_not_give() -> None:
    reassembler = Reassembler(1 << 62)
    reassembler.room = ReassemblyBudget(1 << 62)
    assert reassembler.begin(tag(1), sizes_of(1 << 61), 0.0) is FragmentResult.CROWDED
    assert reassembler.room.bytes == 0


@pytest.mark.parametrize("offset", [0, 1, 3, 1 << 62])
def test_parts_out_of_place(offset: int) -> None:
    reassembler = Reassembler(1000)
    reassembler.begin(tag(1), sizes_of(10), 0.0)
    assert reassembler.on_fragment(tag(1), 0, [b"12"], 0.0) is FragmentResult.TAKEN
    assert reassembler.on_fragment(tag(1), offset, [b"34"], 0.0) is FragmentResult.MALFORMED
    assert reassembler.tag == b""
    assert reassembler.on_fragment(tag(1), 2, [b"34"], 0.0) is FragmentResult.DROPPED, "its sender may not know yet"


def test_more_than_was_announced() -> None:
    reassembler = Reassembler(1000)
    reassembler.begin(tag(1), sizes_of(3), 0.0)
    assert reassembler.on_fragment(tag(1), 0, [b"12", b"34"], 0.0) is FragmentResult.MALFORMED


def test_parts_of_what_has_not_begun() -> None:
    reassembler = Reassembler(1000)
    assert reassembler.on_fragment(tag(1), 0, [b"12"], 0.0) is FragmentResult.MALFORMED
    reassembler.begin(tag(1), sizes_of(3), 0.0)
    assert reassembler.on_fragment(tag(2), 0, [b"12"], 0.0) is FragmentResult.MALFORMED
    assert reassembler.tag == tag(1), "that of another does it no harm"


def test_a_flood_of_tiny_parts() -> None:
    reassembler = Reassembler(64 * MIB)
    reassembler.begin(tag(1), sizes_of(MIB), 0.0)
    outcomes = [reassembler.on_fragment(tag(1), offset, [b"x"], 0.0) for offset in range(100)]
    assert outcomes.count(FragmentResult.TAKEN) == EXTRA_PARTS + MIB // MIN_PART_BYTES
    assert FragmentResult.MALFORMED in outcomes


def test_room_is_shared_and_given_back() -> None:
    room = ReassemblyBudget(1000)
    one, other = Reassembler(2000), Reassembler(2000)
    one.room = other.room = room
    assert one.begin(tag(1), sizes_of(1500), 0.0) is FragmentResult.TAKEN, "one alone may be larger"
    assert other.begin(tag(2), sizes_of(1), 0.0) is FragmentResult.CROWDED
    assert other.on_fragment(tag(2), 0, [b"1"], 0.0) is FragmentResult.DROPPED
    one.drop()
    assert other.begin(tag(2), sizes_of(600), 0.0) is FragmentResult.TAKEN
    assert one.begin(tag(1), sizes_of(401), 0.0) is FragmentResult.CROWDED
    assert one.begin(tag(1), sizes_of(400), 0.0) is FragmentResult.TAKEN
    assert other.begin(tag(3), sizes_of(600), 0.0) is FragmentResult.TAKEN, "instead of the one before"
    other.restart()
    assert room.bytes == 400
    one.on_fragment(tag(1), 0, [b"x" * 400], 0.0)
    one.take_whole()
    assert room.bytes == 0


def test_the_sender_is_told_now_and_then() -> None:
    reassembler = Reassembler(64 * MIB)
    part = [Kind.PART, 0, None, [bytes(parts.TAKEN_EVERY - 1)]]
    assert not reassembler.count(part)
    assert reassembler.count([Kind.PART, 0, None, [b"1"]])
    assert reassembler.read() == parts.TAKEN_EVERY
    assert not reassembler.count(part)
    reassembler.restart()
    assert reassembler.read() == 0


@pytest.mark.parametrize(
    "record",
    [
        [Kind.PART],
        [Kind.PART, 0, None],
        [Kind.PART, 0, None, []],
        [Kind.PART, 0, None, [b""]],
        [Kind.PART, 0, None, ["text"]],
        [Kind.PART, 0, None, b"12"],
        [Kind.PART, 0, b"", [b"1"]],
        [Kind.PART, 0, b"1234567", [b"1"]],
        [Kind.PART, 0, "12345678", [b"1"]],
        [Kind.PART, -1, None, [b"1"]],
        [Kind.PART, None, None, [b"1"]],
        [Kind.PART, 0.0, None, [b"1"]],
        [Kind.PART, True, None, [b"1"]],
    ],
)
def test_parts_that_are_none(record: list[Any]) -> None:
    import msgpack

    for answered in (Kind.REQUEST, Kind.RESPONSE):
        message = MessageDecoder(Limits(), answered).decode([tag(1), msgpack.packb(record)])
        assert (message.records, message.malformed) == ([], [tag(1)])


def test_pieces_are_bytes_and_nothing_else() -> None:
    import msgpack

    reference = msgpack.ExtType(1, msgpack.packb([0, "v", "H", [2]]))
    frames = [tag(1), msgpack.packb([Kind.PART, 0, None, [reference]]), b"1234"]
    assert READER.decode(frames).malformed == [tag(1)]
