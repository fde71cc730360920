"""Messages that begin as valid ones and are then damaged, each made again from its seed and its number alone.

A record is kept as its packed fields until the end, so that any of them can be exchanged for bytes that no encoder
would write.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mpzmq.config import Limits
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind, Op
from mpzmq.protocol.wire.records import LINK_TAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq.protocol.wire.values import Buffer

__all__ = ["CONTAINER", "ENGINE", "mutant", "valid"]

ENGINE, CONTAINER = "engine", "container"
"""Who plays the liar: its messages are for the other side."""

_ENCODER = Encoder(Limits())

_VALUES: tuple[bytes, ...] = (
    b"\xc0", b"\xc2", b"\xc3", b"\x00", b"\x01", b"\x7f", b"\xff", b"\xcd\x01\x00", b"\xce\xff\xff\xff\xff",
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcb\x7f\xf8" + bytes(6), b"\xcb\x7f\xf0" + bytes(6),
    b"\xcb\xff\xf0" + bytes(6), b"\xca\x3f\x80\x00\x00", b"\xa0", b"\xa1x", b"\xa2\xff\xfe", b"\xd9\xff",
    b"\xc4\x00", b"\xc4\x10" + bytes(16), b"\xc4\x11" + bytes(17), b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff", b"\x90", b"\x80", b"\x91\xc0", b"\x92\x01\x01", b"\x81\xa1a\x01",
    b"\x81\x01\x02", b"\x81\xc0\x02", b"\x81\x90\x02", b"\x91" * 70 + b"\xc0", b"\x91" * 63 + b"\xc0",
    b"\x81\xa1k" * 66 + b"\xc0", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\x00\x01\x86\xa1",
    b"\xdc\x04\x00" + b"\x90" * 1024, b"\xd8\x02" + bytes(16), b"\xc7\x05\x02abcde", b"\xd4\x01\x00",
    b"\xd4\x01\x01", b"\xd7\x01\x94\x00\xa1v\xa1B\x91\x00", b"\xc7\x09\x01\x94\x00\xa1v\xa1q\x92\x02\x04",
    b"\xc7\x07\x01\x94\x00\xa1a\xa1O\x90", b"\xd6\xff\x00\x00\x00\x00", b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xd7\xff" + b"\xff" * 8, b"\xd4\x7f\x00", b"\xc1", b"\xda\x10\x00" + b"y" * 4096,
)  # fmt: skip
"""What a field is exchanged for: every type, the ends of every range, lying lengths, every ext type, bytes of none."""

_HEADERS = b"\xc1\xc4\xc6\xc7\xc9\xd4\xd8\xdb\xdc\xdd\xde\xdf\x9f\x8f\xff\x00"

_STREAMED = {Op.STREAM: "climb", Op.UPLOAD: "add_up", Op.CHANNEL: "echo_all"}
"""Ways to ask, each with a function that can be asked so."""

Fields = list[bytes]
"""The packed fields of a record."""


class Draft:
    """A message that is not yet put together: its tags, the fields of its records, and its buffers."""

    def __init__(self, records: list[tuple[bytes, list[Any]]], buffers: list[Buffer]) -> None:
        self.tags = [tag for tag, _ in records]
        self.records: list[Fields] = [[_ENCODER.pack(field) for field in record] for _, record in records]
        self.buffers = [bytes(buffer) for buffer in buffers]
        self.lengths: list[int] = [len(fields) for fields in self.records]

    def frames(self) -> list[bytes]:
        """The message as it goes over the wire."""
        packed = [
            struct.pack(">BH", 0xDC, length) if length > 15 else bytes((0x90 + max(length, 0),))
            for length in self.lengths
        ]
        bodies = [head + b"".join(fields) for head, fields in zip(packed, self.records, strict=True)]
        return [b"".join(self.tags), b"".join(bodies), *self.buffers]


def _tag(dice: random.Random) -> bytes:
    return dice.randbytes(16)


def _data(dice: random.Random, buffers: list[Buffer]) -> Any:
    choice = dice.randrange(8)
    values: tuple[Any, ...] = (
        None, dice.getrandbits(32), "text" * dice.randrange(20), dice.randbytes(20), [1, [2.5, {"k": [None]}]],
        {"a": {"b": UUID(int=dice.getrandbits(128))}}, memoryview(bytes(dice.randrange(1, 64))), bytes(20_000),
    )  # fmt: skip
    return _ENCODER.prepare(values[choice], "data", buffers)


def _chunk(dice: random.Random, buffers: list[Buffer]) -> list[Any]:
    items = [dice.getrandbits(8) for _ in range(dice.choice((0, 1, 1, 3, 2000)))] or [_data(dice, buffers)]
    size = dice.choice((len(items), 0, 1 << 16, 1 << 40))
    return [Kind.CHUNK, dice.choice((0, 0, 1, dice.getrandbits(40))), size, dice.random() < 0.5, items]


def _credit(dice: random.Random) -> list[Any]:
    return [Kind.CREDIT, *(dice.choice((0, 1, 1024, (1 << 64) - 1)) for _ in range(3))]


def _request(dice: random.Random, buffers: list[Buffer]) -> list[Any]:
    op = dice.choice((Op.INVOKE, Op.INVOKE, Op.CALL, Op.CALL, Op.GETSTATE, Op.DESCRIBE, *_STREAMED))
    sequence = dice.randrange(1, 1 << 20)
    remaining = dice.choice((None, None, 1, 1000, 60_000))
    flags = dice.randrange(4)
    metadata = dice.choice((None, {"trace": "x"}))
    if op == Op.CALL:
        args, kwargs = dice.choice((([_data(dice, buffers)], None), ([], {"data": 5}), ([1, 2, 3], {"z": 1})))
        return [
            Kind.REQUEST,
            sequence,
            remaining,
            flags,
            op,
            dice.choice(("note", "plain", "nope")),
            args,
            kwargs,
            metadata,
        ]
    if op in _STREAMED:
        args = dice.choice(([], [3], [3, 100]))
        function = dice.choice((*_STREAMED.values(), _STREAMED[op], _STREAMED[op], "note"))
        return [Kind.REQUEST, sequence, remaining, flags, op, function, args, None, metadata]
    args = [_data(dice, buffers)] if op == Op.INVOKE else []
    return [Kind.REQUEST, sequence, remaining, flags, op, None, args, None, metadata]


def _engine_record(dice: random.Random, kind: int, buffers: list[Buffer]) -> tuple[bytes, list[Any]]:
    match kind:
        case Kind.HELLO:
            session = UUID(int=dice.getrandbits(128))
            return LINK_TAG, wire.hello(session, dice.randrange(1, 100), "mutant", 60.0, Limits())
        case Kind.REQUEST:
            return _tag(dice), _request(dice, buffers)
        case Kind.CANCEL:
            return _tag(dice), [Kind.CANCEL]
        case Kind.PING:
            return LINK_TAG, [Kind.PING, dice.randrange(1, 4)]
        case Kind.PONG:
            load = dice.choice([[], [dice.randrange(2), dice.getrandbits(20), dice.getrandbits(20)]])
            return LINK_TAG, [Kind.PONG, dice.randrange(4), dice.getrandbits(40), dice.getrandbits(50), *load]
        case Kind.GOODBYE:
            return LINK_TAG, [Kind.GOODBYE, dice.randrange(6), "bye"]
        case _:
            return LINK_TAG, [Kind.RECEIVED, dice.randrange(100), dice.randbytes(16 * dice.randrange(5))]


def _part(dice: random.Random, buffers: list[Buffer]) -> list[Any]:
    """A part of what is no record: it may be a whole message, the first part of one, or the middle of another."""
    pieces = [memoryview(dice.randbytes(dice.randrange(1, 200))) for _ in range(dice.randrange(1, 4))]
    size = sum(map(len, pieces))
    total = dice.choice((size, size, size + 1, size + 5000, 1 << 20, 1 << 40, (1 << 64) - 1, 0))
    sizes = dice.choice(((total,), (0, total), (total, 0, 7), (1,) * 5000))
    first = dice.random() < 0.7
    packed = b"".join(struct.pack(">Q", one) for one in sizes) if first else None
    prepared = [_ENCODER.prepare(piece, "piece", buffers) for piece in pieces]
    return [Kind.PART, 0 if first else dice.choice((0, size, 1 << 20, 1 << 62)), packed, prepared]


def _any_record(dice: random.Random, kind: int, buffers: list[Buffer]) -> tuple[bytes, list[Any]]:
    match kind:
        case Kind.WELCOME:
            status = wire.STATUSES[dice.randrange(2)]
            welcome = wire.welcome(
                UUID(int=dice.getrandbits(128)), dice.randrange(1, 4), False, status, "m", 2.0, Limits()
            )
            return LINK_TAG, welcome
        case Kind.CHUNK:
            return _tag(dice), _chunk(dice, buffers)
        case Kind.CREDIT:
            return _tag(dice), _credit(dice)
        case Kind.RESPONSE:
            return _tag(dice), [Kind.RESPONSE, dice.randrange(2), _data(dice, buffers)]
        case Kind.ERROR:
            detail = dice.choice(
                (None, {"type": "X", "code": "y", "data": [1]}, {"retry_after": 0.5}, {"retry_after": "x"})
            )
            error = [Kind.ERROR, dice.randrange(18), dice.randrange(3), dice.randrange(2), "text", detail]
            return dice.choice((LINK_TAG, _tag(dice))), error
        case Kind.STARTED:
            return _tag(dice), [Kind.STARTED]
        case Kind.PART:
            return _tag(dice), _part(dice, buffers)
        case Kind.TAKEN:
            return LINK_TAG, [Kind.TAKEN, dice.getrandbits(40)]
        case _:
            return _engine_record(dice, kind, buffers)


_KINDS = {
    # The other side's kinds are for nobody here, and have to be borne all the same.
    ENGINE: (Kind.HELLO, Kind.REQUEST, Kind.REQUEST, Kind.REQUEST, Kind.CANCEL, Kind.PING, Kind.PONG, Kind.GOODBYE,
             Kind.RECEIVED, Kind.WELCOME, Kind.RESPONSE, Kind.ERROR, Kind.STARTED, Kind.PONG, Kind.CHUNK, Kind.CREDIT,
             Kind.PART, Kind.PART, Kind.TAKEN),
    CONTAINER: (Kind.WELCOME, Kind.RESPONSE, Kind.RESPONSE, Kind.ERROR, Kind.STARTED, Kind.PONG, Kind.PING, Kind.PONG,
                Kind.GOODBYE, Kind.HELLO, Kind.REQUEST, Kind.CANCEL, Kind.RECEIVED, Kind.CHUNK, Kind.CHUNK,
                Kind.CREDIT, Kind.PART, Kind.PART, Kind.TAKEN),
}  # fmt: skip


def valid(dice: random.Random, liar: str, kind: int | None = None) -> Draft:
    """A message that keeps to the protocol, of one record or of some.

    Args:
        dice: decides everything.
        liar: who would send it.
        kind: of its first record; None: any.
    """
    kinds = _KINDS[liar]
    buffers: list[Buffer] = []
    records = [_any_record(dice, kind or dice.choice(kinds), buffers)]
    if not buffers and dice.random() < 0.2:
        for _ in range(dice.randrange(1, 4)):
            more: list[Buffer] = []
            one = _any_record(dice, dice.choice(kinds), more)
            if not more:  # what has buffers travels alone
                records.append(one)
    if liar == CONTAINER:
        for _, record in records:
            if record[0] == Kind.REQUEST:
                # Of a request that may be open, or not.
                record.append(UUID(int=dice.choice((dice.randrange(1, 6), dice.getrandbits(128)))))
    return Draft(records, buffers)


# Damage to the parts


def _exchange_field(dice: random.Random, draft: Draft) -> None:
    fields = dice.choice(draft.records)
    if fields:
        fields[dice.randrange(len(fields))] = dice.choice(_VALUES)


def _exchange_kind(dice: random.Random, draft: Draft) -> None:
    fields = dice.choice(draft.records)
    if fields:
        fields[0] = bytes((dice.randrange(0, 64),))


def _drop_field(dice: random.Random, draft: Draft) -> None:
    index = dice.randrange(len(draft.records))
    if draft.records[index]:
        del draft.records[index][dice.randrange(len(draft.records[index]))]
        draft.lengths[index] -= dice.randrange(2)  # the header says so, or lies


def _add_fields(dice: random.Random, draft: Draft) -> None:
    index = dice.randrange(len(draft.records))
    more = [dice.choice(_VALUES) for _ in range(dice.randrange(1, 20))]
    draft.records[index] += more
    draft.lengths[index] += len(more) * dice.randrange(2)


def _exchange_tag(dice: random.Random, draft: Draft) -> None:
    index = dice.randrange(len(draft.tags))
    odd = dice.randbytes(dice.choice((0, 1, 15, 17, 32, 160)))
    draft.tags[index] = dice.choice((LINK_TAG, draft.tags[0], odd))


def _repeat_record(dice: random.Random, draft: Draft) -> None:
    index = dice.randrange(len(draft.records))
    for _ in range(dice.choice((1, 2, 300))):
        draft.records.append(list(draft.records[index]))
        draft.lengths.append(draft.lengths[index])
        draft.tags.append(dice.choice((draft.tags[index], _tag(dice))))


def _change_buffers(dice: random.Random, draft: Draft) -> None:
    if draft.buffers and dice.random() < 0.5:
        del draft.buffers[dice.randrange(len(draft.buffers))]
    else:
        draft.buffers += [dice.randbytes(dice.choice((0, 1, 8, 64))) for _ in range(dice.choice((1, 2, 50)))]


# Damage to the bytes


def _change_bytes(dice: random.Random, frame: bytes) -> bytes:
    changed = bytearray(frame)
    for _ in range(dice.randrange(1, 4)):
        place = dice.randrange(len(changed) + 1)
        match dice.randrange(5):
            case 0 if changed:
                changed[place - 1] ^= 1 << dice.randrange(8)
            case 1 if changed:
                changed[place - 1] = dice.choice(_HEADERS)
            case 2:
                del changed[place:]
            case 3:
                changed[place:place] = dice.choice(_VALUES)
            case _:
                del changed[place : place + dice.randrange(8)]
    return bytes(changed)


def _change_frames(dice: random.Random, frames: list[bytes]) -> None:
    place = dice.randrange(len(frames))
    match dice.randrange(6):
        case 0:
            del frames[place]
        case 1:
            frames.insert(place, frames[dice.randrange(len(frames))])
        case 2:
            frames.reverse()
        case 3:
            frames[place] = b""
        case 4:
            frames.insert(place, dice.randbytes(dice.randrange(40)))
        case _:
            frames[place] = dice.randbytes(len(frames[place]))


_ON_PARTS: tuple[Callable[[random.Random, Draft], None], ...] = (
    _exchange_field, _exchange_field, _exchange_field, _exchange_kind, _drop_field, _add_fields, _exchange_tag,
    _repeat_record, _change_buffers,
)  # fmt: skip


def mutant(seed: int, number: int, liar: str, kind: int | None = None) -> list[bytes]:
    """The message of this number; one in ten is left as it is, so that what stands behind the door is tried, too."""
    dice = random.Random(f"{seed}/{number}/{liar}")
    draft = valid(dice, liar, kind)
    way = dice.random()
    if way < 0.1:
        return draft.frames()
    if way < 0.6:
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            dice.choice(_ON_PARTS)(dice, draft)
        return draft.frames()
    frames = draft.frames()
    if way < 0.85:
        place = dice.randrange(min(2, len(frames)))
        frames[place] = _change_bytes(dice, frames[place])
    else:
        _change_frames(dice, frames)
    return frames or [b""]
