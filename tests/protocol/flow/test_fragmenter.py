"""Large messages in parts: cut, and put together again."""

from __future__ import annotations

import itertools
import mmap
import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.protocol.effect_queue import EffectQueue
from mpzmq.protocol.effects import ReportProgress
from mpzmq.protocol.flow import fragmenter as parts
from mpzmq.protocol.flow import reassembler as reassembler_module
from mpzmq.protocol.flow.fragmenter import FRAGMENT_BYTES, Fragmenter, is_large
from mpzmq.protocol.flow.outbox import QueuedRecord
from mpzmq.protocol.flow.progress import ProgressTracker
from mpzmq.protocol.flow.reassembler import EXTRA_PARTS, MIN_PART_BYTES, FragmentResult, Reassembler, ReassemblyBudget
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.messages import MessageDecoder
from mpzmq.protocol.wire.values import mark_received, unchanging
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
    assert size == 3 * MIB // 2 + 2
    piece = frames[3]
    assert isinstance(piece, memoryview) and piece.obj is data.obj


def received(*buffers: bytes) -> list[Any]:
    """What comes out of a message with these buffers."""
    cutter, reassembler = Fragmenter(), Reassembler(64 * MIB)
    cutter.begin(QueuedRecord(tag(1), b"body", buffers))
    while cutter.item is not None:
        frames, size = cutter.next_fragment()
        _, offset, sizes, pieces = record_of(frames)
        if sizes is not None:
            reassembler.begin(tag(1), sizes, 0.0)
        reassembler.on_fragment(tag(1), offset, pieces, 0.0)
        cutter.on_sent(size)
    _, body, *rest = reassembler.take_whole()
    assert bytes(body) == b"body"
    return rest


def test_what_was_joined_is_bytes_that_need_no_other_copy() -> None:
    one, empty, other = received(bytes(3 * MIB), b"", b"x" * 3 * MIB)
    assert (type(one), type(empty), type(other)) == (bytes, bytes, bytes)
    assert (one, empty, other) == (bytes(3 * MIB), b"", b"x" * 3 * MIB)


def test_what_came_in_one_piece_is_passed_on_as_it_came() -> None:
    content = b"x" * 1000
    (_, whole) = received(bytes(3 * MIB), content)
    assert isinstance(whole, memoryview) and whole.readonly and whole.obj is content


def test_what_is_too_large_to_be_twice_in_memory_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reassembler_module, "JOINED_BYTES", 2 * MIB)
    one, other = received(b"y" * 2 * MIB, b"x" * 5 * MIB)
    assert type(one) is bytes and one == b"y" * 2 * MIB
    assert isinstance(other, memoryview) and isinstance(other.obj, mmap.mmap)
    assert other.readonly and other == b"x" * 5 * MIB
    assert unchanging(other) is not other, "as far as one can see it may be written to"
    mark_received(other)
    assert unchanging(other) is other and unchanging(other[:MIB]) == b"x" * MIB


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_pieces_end_anywhere(steps: list[int], sizes: list[int]) -> None:
    content = bytes(index % 251 for index in range(sum(sizes)))
    reassembler, offset, outcome = Reassembler(64 * MIB), 0, FragmentResult.WHOLE
    if content:
        assert reassembler.begin(tag(1), sizes_of(*sizes), 0.0) is FragmentResult.TAKEN
        outcome = FragmentResult.TAKEN
    reassembler._most_parts += 1000
    for step in itertools.cycle(steps):
        if offset == len(content):
            break
        pieces = [content[offset : offset + step], content[offset + step : offset + 2 * step]]
        outcome = reassembler.on_fragment(tag(1), offset, [piece for piece in pieces if piece], 0.0)
        offset += sum(map(len, pieces))
    assert outcome is FragmentResult.WHOLE
    if content:
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        frames = [bytes(frame) for frame in reassembler.take_whole()[1:]]
        assert frames == [content[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def test_a_flood_of_tiny_pieces_costs_not_much_more_than_its_bytes() -> None:
    reassembler = Reassembler(64 * MIB)
    reassembler.begin(tag(1), sizes_of(MIB), 0.0)
    reassembler.on_fragment(tag(1), 0, [b"x"] * 20_000, 0.0)
    assert sum(map(sys.getsizeof, reassembler._pieces)) < 50_000


@pytest.mark.parametrize("size", [FRAGMENT_BYTES + 1, 2 * FRAGMENT_BYTES, 2 * FRAGMENT_BYTES + 1, 10 * MIB])
def test_the_parts_of_a_message_are_of_one_size(size: int) -> None:
    cutter, cut = Fragmenter(), []
    cutter.begin(QueuedRecord(tag(1), b"body", [bytes(size - 4)]))
    while cutter.item is not None:
        cut.append(cutter.next_fragment()[1])
        cutter.on_sent(cut[-1])
    assert len(cut) == -(-size // FRAGMENT_BYTES) and max(cut) <= FRAGMENT_BYTES
    assert max(cut) - min(cut) < len(cut), "none is a small rest"


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
    assert parts.UNREAD_BYTES <= sent < parts.UNREAD_BYTES + size
    assert cutter.remaining == 10 * MIB + 4 - sent
    assert not cutter.on_taken(0) and cutter.is_held_back
    enough = sent - parts.UNREAD_BYTES + 1
    assert cutter.on_taken(enough) and not cutter.is_held_back
    assert not cutter.on_taken(enough), "told before"
    cutter.on_sent(cutter.next_fragment()[1])
    assert cutter.is_held_back
    assert cutter.on_taken(1 << 60), "no more than was sent is believed"
    assert not cutter.is_held_back
    before = cutter.remaining
    while cutter.item is not None and not cutter.is_held_back:
        cutter.on_sent(cutter.next_fragment()[1])
    assert before - cutter.remaining >= min(before, parts.UNREAD_BYTES)


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


@pytest.mark.usefixtures("parts_of_a_mib")
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
