"""Large messages in parts: cut, and put together again."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.protocol.flow import fragmenter as parts
from mpzmq.protocol.flow import reassembler
from mpzmq.protocol.flow.fragmenter import PART_BYTES, Cutter, is_large
from mpzmq.protocol.flow.outbox import Item
from mpzmq.protocol.flow.progress import ProgressBook
from mpzmq.protocol.flow.reassembler import Assembler, Outcome, Room
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.messages import MessageDecoder
from tests.support.protocol import tag

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


def carried(cutter: Cutter, assembler: Assembler, *, tiny: bool = False) -> list[bytes]:
    """Carries the message under way over, part by part; returns it. ``tiny``: though its parts are a flood."""
    assert cutter.item is not None
    name = cutter.item.tag
    outcome = Outcome.TAKEN
    while cutter.item is not None:
        assert outcome is Outcome.TAKEN
        frames, size = cutter.part()
        assert cutter.part() == (frames, size), "it is the same until it has left"
        _, offset, sizes, pieces = record = record_of(frames)
        assert sum(map(len, pieces)) == size > 0
        if sizes is not None:
            assert assembler.begin(name, sizes, 0.0) is Outcome.TAKEN
            assembler._most_parts += 1_000_000 * tiny
        if assembler.count(record):
            cutter.taken(assembler.read())
        outcome = assembler.put(name, offset, pieces, 0.0)
        cutter.left(size)
    assert outcome is Outcome.WHOLE
    return [bytes(frame) for frame in assembler.take_whole()]


@given(
    body=st.binary(min_size=1, max_size=3000),
    buffers=st.lists(st.binary(max_size=2000), max_size=300),
    most=st.integers(1, 2500),
)
def test_what_is_cut_comes_out_as_it_was(body: bytes, buffers: list[bytes], most: int) -> None:
    cutter, assembler = Cutter(), Assembler(64 * MIB)
    cutter.limit(parts.MARGIN + most, 100_000)
    cutter.begin(Item(tag(1), body, buffers))
    assert carried(cutter, assembler, tiny=True) == [tag(1), body, *buffers]
    assert cutter.remaining == 0 and assembler.tag == b"" and assembler.total == 0


def test_parts_are_pieces_of_the_memory_of_the_sender() -> None:
    data = memoryview(bytearray(3 * MIB))
    cutter = Cutter()
    cutter.begin(Item(tag(1), b"body", [data]))
    frames, size = cutter.part()
    assert size == PART_BYTES
    piece = frames[3]
    assert isinstance(piece, memoryview) and piece.obj is data.obj


def test_what_is_received_is_one_piece_of_memory_and_cannot_be_written_to() -> None:
    cutter, assembler = Cutter(), Assembler(64 * MIB)
    cutter.begin(Item(tag(1), b"body", [bytes(MIB), b"x" * MIB]))
    while cutter.item is not None:
        frames, size = cutter.part()
        _, offset, sizes, pieces = record_of(frames)
        if sizes is not None:
            assembler.begin(tag(1), sizes, 0.0)
        assembler.put(tag(1), offset, pieces, 0.0)
        cutter.left(size)
    _, body, one, other = assembler.take_whole()
    assert body == b"body" and isinstance(body, bytes)
    assert isinstance(one, memoryview) and isinstance(other, memoryview)
    assert one.readonly and one.obj is other.obj and other == b"x" * MIB


def test_what_is_large() -> None:
    assert not is_large(PART_BYTES, [b""])
    assert is_large(PART_BYTES + 1, [b""])
    assert not is_large(2 * PART_BYTES, [b""] * parts.MOST_FRAMES)


def test_a_part_fits_into_the_smallest_message_that_a_large_one_needs() -> None:
    cutter = Cutter()
    cutter.limit(PART_BYTES + 1, 100_000)
    buffers = [b"x" * (PART_BYTES // (parts.MOST_FRAMES - 1))] * (parts.MOST_FRAMES - 1)
    item = Item(tag(1), b"body" * 1000, buffers)
    assert is_large(item.size, item.buffers)
    cutter.begin(item)
    while cutter.item is not None:
        frames, size = cutter.part()
        assert sum(map(len, frames)) <= PART_BYTES + 1 and len(frames) <= 2 + parts.MOST_PIECES
        cutter.left(size)


def test_a_part_has_no_more_pieces_than_the_receiver_takes_in_an_array() -> None:
    cutter, pieces = Cutter(), []
    cutter.limit(64 * MIB, 20)
    cutter.begin(Item(tag(1), b"body", [bytes(20_000)] * 59))
    while cutter.item is not None:
        frames, size = cutter.part()
        pieces.append(len(record_of(frames)[3]))
        cutter.left(size)
    assert pieces == [20, 20, 20]


def test_the_receiver_has_to_read_before_more_may_leave() -> None:
    cutter = Cutter()
    cutter.begin(Item(tag(1), b"body", [bytes(10 * MIB)]))
    sent = 0
    while not cutter.is_held_back:
        _, size = cutter.part()
        cutter.left(size)
        sent += size
    assert sent == parts.UNREAD_BYTES
    assert cutter.remaining == 10 * MIB + 4 - sent
    assert not cutter.taken(0) and cutter.is_held_back
    assert cutter.taken(1) and not cutter.is_held_back
    assert not cutter.taken(1), "told before"
    cutter.left(cutter.part()[1])
    assert cutter.is_held_back
    assert cutter.taken(1 << 60), "no more than was sent is believed"
    assert not cutter.is_held_back
    for _ in range(4):
        cutter.left(cutter.part()[1])
    assert cutter.is_held_back


def test_what_was_sent_before_counts_until_it_is_read() -> None:
    cutter = Cutter()
    cutter.begin(Item(tag(1), b"", [bytes(parts.UNREAD_BYTES)]))
    while cutter.item is not None:
        cutter.left(cutter.part()[1])
    cutter.begin(Item(tag(2), b"", [bytes(2 * MIB)]))
    assert cutter.is_held_back
    cutter.restart()
    assert cutter.item is None and not cutter.is_held_back
    cutter.begin(Item(tag(2), b"", [bytes(2 * MIB)]))
    assert not cutter.is_held_back


def test_progress_is_what_was_read_of_each() -> None:
    book = ProgressBook()
    book.watched[tag(1)], book.watched[tag(2)] = [0] * 4, [0] * 4
    cutter = Cutter(book)
    for number in (1, 2, 3):
        cutter.begin(Item(tag(number), b"", [bytes(2 * MIB)]))
        while cutter.item is not None:
            cutter.left(cutter.part()[1])
            if number == 3:
                break
    book.news.clear()
    cutter.taken(MIB)
    assert book.watched[tag(1)] == [MIB, 2 * MIB, 0, 0] and list(book.news) == [tag(1)]
    cutter.taken(3 * MIB)
    assert book.watched[tag(1)] == [2 * MIB, 2 * MIB, 0, 0]
    assert book.watched[tag(2)] == [MIB, 2 * MIB, 0, 0]
    assert cutter.stop()
    cutter.taken(5 * MIB)
    assert book.watched[tag(2)] == [2 * MIB, 2 * MIB, 0, 0]
    assert tag(3) not in book.watched


def test_a_message_that_is_stopped_begins_anew() -> None:
    cutter, assembler = Cutter(), Assembler(64 * MIB)
    item = Item(tag(1), b"body", [bytes(3 * MIB)])
    cutter.begin(item)
    assert not cutter.stop(), "nothing of it had left"
    cutter.begin(item)
    cutter.left(cutter.part()[1])
    assert cutter.stop() and cutter.remaining == 0
    cutter.begin(item)
    assert carried(cutter, assembler) == [tag(1), b"body", bytes(3 * MIB)]


# The assembler, whatever comes


def test_too_much_is_refused_before_memory_is_set_aside() -> None:
    assembler = Assembler(1000)
    assert assembler.begin(tag(1), sizes_of(900, 85), 0.0) is Outcome.TOO_LARGE
    assert assembler.begin(tag(1), sizes_of(1 << 63, 1 << 63), 0.0) is Outcome.TOO_LARGE
    assert assembler.tag == b"" and assembler.total == 0
    assert assembler.begin(tag(1), sizes_of(900, 84), 0.0) is Outcome.TAKEN


@pytest.mark.parametrize("sizes", [sizes_of(0), sizes_of(0, 0), sizes_of(*[1] * (parts.MOST_FRAMES + 1))])
def test_sizes_that_are_none(sizes: bytes) -> None:
    assert Assembler(64 * MIB).begin(tag(1), sizes, 0.0) is Outcome.MALFORMED


def test_memory_that_the_system_does_not_give() -> None:
    assembler = Assembler(1 << 62)
    assembler.room = Room(1 << 62)
    assert assembler.begin(tag(1), sizes_of(1 << 61), 0.0) is Outcome.CROWDED
    assert assembler.room.bytes == 0


@pytest.mark.parametrize("offset", [0, 1, 3, 1 << 62])
def test_parts_out_of_place(offset: int) -> None:
    assembler = Assembler(1000)
    assembler.begin(tag(1), sizes_of(10), 0.0)
    assert assembler.put(tag(1), 0, [b"12"], 0.0) is Outcome.TAKEN
    assert assembler.put(tag(1), offset, [b"34"], 0.0) is Outcome.MALFORMED
    assert assembler.tag == b""
    assert assembler.put(tag(1), 2, [b"34"], 0.0) is Outcome.DROPPED, "its sender may not know yet"


def test_more_than_was_announced() -> None:
    assembler = Assembler(1000)
    assembler.begin(tag(1), sizes_of(3), 0.0)
    assert assembler.put(tag(1), 0, [b"12", b"34"], 0.0) is Outcome.MALFORMED


def test_parts_of_what_has_not_begun() -> None:
    assembler = Assembler(1000)
    assert assembler.put(tag(1), 0, [b"12"], 0.0) is Outcome.MALFORMED
    assembler.begin(tag(1), sizes_of(3), 0.0)
    assert assembler.put(tag(2), 0, [b"12"], 0.0) is Outcome.MALFORMED
    assert assembler.tag == tag(1), "that of another does it no harm"


def test_a_flood_of_tiny_parts() -> None:
    assembler = Assembler(64 * MIB)
    assembler.begin(tag(1), sizes_of(MIB), 0.0)
    outcomes = [assembler.put(tag(1), offset, [b"x"], 0.0) for offset in range(100)]
    assert outcomes.count(Outcome.TAKEN) == reassembler.FEW + MIB // reassembler.FEWEST_BYTES
    assert Outcome.MALFORMED in outcomes


def test_room_is_shared_and_given_back() -> None:
    room = Room(1000)
    one, other = Assembler(2000), Assembler(2000)
    one.room = other.room = room
    assert one.begin(tag(1), sizes_of(1500), 0.0) is Outcome.TAKEN, "one alone may be larger"
    assert other.begin(tag(2), sizes_of(1), 0.0) is Outcome.CROWDED
    assert other.put(tag(2), 0, [b"1"], 0.0) is Outcome.DROPPED
    one.drop()
    assert other.begin(tag(2), sizes_of(600), 0.0) is Outcome.TAKEN
    assert one.begin(tag(1), sizes_of(401), 0.0) is Outcome.CROWDED
    assert one.begin(tag(1), sizes_of(400), 0.0) is Outcome.TAKEN
    assert other.begin(tag(3), sizes_of(600), 0.0) is Outcome.TAKEN, "instead of the one before"
    other.restart()
    assert room.bytes == 400
    one.put(tag(1), 0, [b"x" * 400], 0.0)
    one.take_whole()
    assert room.bytes == 0


def test_the_sender_is_told_now_and_then() -> None:
    assembler = Assembler(64 * MIB)
    part = [Kind.PART, 0, None, [bytes(parts.TAKEN_EVERY - 1)]]
    assert not assembler.count(part)
    assert assembler.count([Kind.PART, 0, None, [b"1"]])
    assert assembler.read() == parts.TAKEN_EVERY
    assert not assembler.count(part)
    assembler.restart()
    assert assembler.read() == 0


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
