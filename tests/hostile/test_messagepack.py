"""MessagePack that costs more than it weighs: what a few bytes ask for, they do not get.

Each goes to the container as a request, as a greeting, and as what is no record at all, before and after HELLO.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING
from uuid import uuid4

import msgpack
import pytest

from mpzmq.protocol.wire.kinds import Code, Kind

from .liar import liars
from .target import MEBIBYTE

if TYPE_CHECKING:
    from .target import Target

LARGE = 900_000
"""Bytes: just below the limit of the container, so that they are decoded at all."""

PEAK = 32
"""Mebibytes that the container may take for a bomb, at most: the message is held more than once."""


def _nest(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def _array(length: int) -> bytes:
    return struct.pack(">BI", 0xDD, length)


BOMBS: dict[str, bytes] = {
    "nested one-element arrays": b"\x91" * LARGE,
    "nested maps": b"\x81\xa1k" * (LARGE // 3),
    "nested long arrays": b"\xdc\xff\xff" * (LARGE // 3),
    "nested longest arrays": _array(0xFFFFFFFF) * (LARGE // 5),
    "nested arrays at the limit": _array(100_000) * 50,
    "empty arrays": _array(LARGE - 5) + b"\x90" * (LARGE - 5),
    "arrays of empty arrays": b"\x99" + (_array(99_000) + b"\x90" * 99_000) * 9,
    "empty maps": _array(LARGE - 5) + b"\x80" * (LARGE - 5),
    "nils": _array(LARGE - 5) + b"\xc0" * (LARGE - 5),
    "an array header that lies": _array(0xFFFFFFFF),
    "a map header that lies": b"\xdf\xff\xff\xff\xff",
    "a str header that lies": b"\xdb\xff\xff\xff\xff",
    "a bin header that lies": b"\xc6\xff\xff\xff\xff",
    "an ext header that lies": b"\xc9\xff\xff\xff\xff\x01",
    "ext of no known type": msgpack.packb(msgpack.ExtType(42, b"x" * 1000)),
    "a nest inside an ext": msgpack.packb(msgpack.ExtType(1, b"\xdd\x00\x01\x80\x00" * 20_000)),
    "a timestamp out of range": b"\xc7\x0c\xff" + b"\xff" * 12,
    "a timestamp before year 1": b"\xc7\x0c\xff" + bytes(4) + struct.pack(">q", -(1 << 62)),
    "a timestamp of 5 bytes": b"\xc7\x05\xff" + bytes(5),
    "integers of no key order": b"\xdf" + struct.pack(">I", 2) + b"\x01\xc0\x01\xc0" + b"\xc1",
    "no UTF-8": b"\xdb" + struct.pack(">I", LARGE) + b"\xff" * LARGE,
}
"""None of them is a value that anybody may send."""

CARRIED: dict[str, object] = {
    "not a number": math.nan,
    "as many elements as allowed": [[]] * 99_999,
    "as deep as allowed": _nest(64),
    "a long str": "x" * LARGE,
}
"""At the limit, and allowed."""


def _as_request(value: bytes) -> bytes:
    return b"\x99" + b"\x03\x01\xc0\x00\x00\xc0" + b"\x91" + value + b"\xc0\xc0"


def _as_greeting(value: bytes) -> bytes:
    return b"\x97\x01\x91\x01" + msgpack.packb(msgpack.ExtType(2, bytes(16))) + b"\x01" + value + b"\x02\x80"


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_refused_and_costs_little(target: Target, name: str) -> None:
    bomb = BOMBS[name]
    with liars(target) as make:
        stranger, greeted = make(), make()
        await greeted.greet()
        async with target.watched():
            for liar in (stranger, greeted):
                for body in (bomb, _as_greeting(bomb)):
                    await liar.send(uuid4().bytes, body)
                tag = uuid4().bytes
                await liar.send(tag, _as_request(bomb))
                assert (await liar.answer_to(tag))[:3] == [Kind.ERROR, Code.MALFORMED, 0]
        facts = await target.unharmed(grown=96)
        assert facts["in_flight"] == 0
        # Also what was given back at once: a million empty lists would take 64 MB.
        assert facts["peak"] <= max(target.before["peak"], target.before["rss"] + PEAK * MEBIBYTE)


@pytest.mark.parametrize("name", CARRIED)
async def test_what_is_just_allowed_is_carried(target: Target, name: str) -> None:
    with liars(target) as make:
        liar = make()
        await liar.greet()
        tag = uuid4().bytes
        await liar.send(tag, _as_request(msgpack.packb(CARRIED[name])))
        assert (await liar.answer_to(tag))[0] == Kind.RESPONSE
        await target.unharmed(grown=96)
