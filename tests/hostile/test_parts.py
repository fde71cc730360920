"""Parts of large requests that are lies: too much, out of place, of nothing, never ended, without end."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgpack
import pytest

from mpzmq.protocol.flow.fragmenter import FRAGMENT_BYTES
from mpzmq.protocol.wire.kinds import Code, Kind
from mpzmq.protocol.wire.records import LINK_TAG

from .liar import LyingEngine, liars, request

if TYPE_CHECKING:
    from .target import Target

MIB = 1024 * 1024


def part(offset: int, sizes: list[int] | None, *pieces: bytes) -> tuple[bytes, ...]:
    """The frames behind the tag."""
    packed = None if sizes is None else b"".join(struct.pack(">Q", size) for size in sizes)
    references = [
        msgpack.ExtType(1, msgpack.packb([index, "v", "B", [len(piece)]])) for index, piece in enumerate(pieces)
    ]
    return msgpack.packb([Kind.PART, offset, packed, references]), *pieces


async def refused(liar: LyingEngine, tag: bytes) -> tuple[int, int]:
    """Code and executed of the answer."""
    record = await liar.answer_to(tag)
    assert record[0] == Kind.ERROR
    return record[1], record[2]


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([part(0, [1 << 40], b"x")], Code.MALFORMED),
        ([part(0, [(1 << 64) - 1, 1], b"x")], Code.MALFORMED),
        ([part(0, [1 << 20], b"x")], Code.MALFORMED),
        ([part(0, [0], b"x")], Code.MALFORMED),
        ([part(0, [0, 0, 0])], Code.MALFORMED),
        ([part(0, [1] * 5000, b"x")], Code.MALFORMED),
        ([part(0, [3], b"four")], Code.MALFORMED),
        ([part(1, [3], b"x")], Code.MALFORMED),
        ([part(0, [3], b"x"), part(2, None, b"x")], Code.MALFORMED),
        ([part(0, [3], b"x"), part(0, None, b"x")], Code.MALFORMED),
        ([part(0, [3], b"x"), part(1, None, b"xyz")], Code.MALFORMED),
        ([part(0, None, b"x")], Code.MALFORMED),
        ([part(0, [3], b"xyz")], Code.MALFORMED),
        ([part(0, [1 << 19], b"x"), part(0, [1 << 19], b"x")], Code.MALFORMED),
        ([part(0, [1 << 19], b"x"), *(part(place, None, b"x") for place in range(1, 40))], Code.MALFORMED),
    ],
)  # fmt: skip
async def test_parts_that_do_not_fit_are_told(target: Target, messages: list[Any], code: int) -> None:
    with liars(target) as make:
        liar = make()
        await liar.greet()
        tag = uuid4().bytes
        for frames in messages:
            await liar.send(tag, *frames)
        assert await refused(liar, tag) == (code, 0)
        await liar.until_read()
        await target.unharmed(grown=8)


async def test_parts_that_make_a_request_do_run(target: Target) -> None:
    """Otherwise the other tests here would see nothing run because nothing can."""
    body = msgpack.packb(request(1, "x"))
    with liars(target) as make:
        liar = make()
        await liar.greet()
        tag = uuid4().bytes
        target.allowed.add(tag)
        await liar.send(tag, *part(0, [len(body)], body[:3], body[3:4]))
        await liar.send(tag, *part(4, None, body[4:]))
        assert (await liar.answer_to(tag))[0] == Kind.RESPONSE
        await target.unharmed(grown=8)


async def test_what_is_announced_and_never_sent_costs_no_memory(target: Target) -> None:
    with liars(target) as make:
        engines = [make() for _ in range(40)]
        tag = uuid4().bytes
        for liar in engines:
            await liar.greet()
            await liar.send(tag, *part(0, [MIB - 16], b"x"))
            await liar.until_read()
        await target.unharmed(grown=8)
        # What one announces, others cannot have: they are told, and it is given back when it goes.
        crowded = make()
        await crowded.greet()
        await crowded.send(tag, *part(0, [MIB - 16], b"x"))
        assert await refused(crowded, tag) == (Code.OVERLOADED, 0)
        for liar in engines:
            await liar.say(tag, [Kind.CANCEL])
            await liar.until_read()
        await crowded.send(tag, *part(0, [MIB - 16], b"x"))
        await crowded.until_read()
        await target.unharmed(grown=8)


async def test_an_engine_that_says_it_has_read_more_than_it_was_sent(target: Target) -> None:
    with liars(target) as make:
        liar = make()
        await liar.greet()
        for size in (1 << 62, 0, 5, FRAGMENT_BYTES):
            await liar.say(LINK_TAG, [Kind.TAKEN, size])
        await liar.until_read()
        await target.unharmed(grown=8)
