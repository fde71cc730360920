"""Level 3 of containers: large records in parts."""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING, Any

from ...protocol.wire.kinds import Code, Kind
from ..checks import Checks, NotJudged, expect
from ..frames import PART_BYTES, in_frame, pack, shown
from ..reassembly import UNREAD, in_parts
from ..shapes import NAMES
from .calls import A_WHILE, serves

if TYPE_CHECKING:
    from ..container_under_test import ContainerUnderTest
    from ..raw_engine import RawEngine

__all__ = ["checks"]

checks = Checks(level=3)

NO, YES = 0, 2
_ANSWERS = (Kind.RESPONSE, Kind.ERROR)


def _large(engine: RawEngine, size: int) -> tuple[bytes, list[Any], bytes]:
    """A tag, a REQUEST for echo with so many bytes in a buffer, and the buffer."""
    if engine.welcomed["limits"].get("message_bytes", 0) < size + PART_BYTES:
        raise NotJudged(f"its message_bytes leave no room for {size:,} bytes")
    return secrets.token_bytes(16), engine.asked("echo", in_frame(0)), secrets.token_bytes(size)


def _part(tag: bytes, offset: int, sizes: list[int] | None, piece: bytes) -> list[bytes | memoryview]:
    told = None if sizes is None else b"".join(struct.pack("!Q", size) for size in sizes)
    return [tag, pack([Kind.PART, offset, told, [piece]])]


@checks.add(24, "9")
async def large_values_come_back(at: ContainerUnderTest) -> None:
    """A REQUEST in parts is read as if it had come in one piece, and its large answer leaves in parts."""
    async with at.greeted() as engine:
        tag, record, data = _large(engine, 3 * PART_BYTES)
        await engine.say_large(record, tag, data)
        expect(await engine.answered(tag) == data, f"echo of {len(data):,} bytes gave something else")
        expect(len(engine.parts) > 1, f"an answer of {len(data):,} bytes came in {len(engine.parts)} parts")
        await serves(engine)


@checks.add(24, "9")
async def unread_parts_hold_the_rest(at: ContainerUnderTest) -> None:
    """No part leaves while 4 MiB of pieces are unread, as far as TAKEN tells; small answers leave all the same."""
    async with at.greeted() as engine:
        engine.is_courteous = False
        tag, record, data = _large(engine, 7 * PART_BYTES)
        await engine.say_large(record, tag, data)
        await engine.silent(1.0, *_ANSWERS)
        sizes = [sum(map(len, part.record[3])) for part in engine.parts]
        held = sum(sizes[:-1])
        expect(held < UNREAD, f"{sum(sizes):,} bytes of pieces came, of which nothing was taken")
        expect(sum(sizes) >= UNREAD, f"{sum(sizes):,} bytes of pieces came, of which {UNREAD:,} may be unread")
        await serves(engine)
        engine.is_courteous = True
        engine.say([Kind.TAKEN, sum(sizes)])
        expect(await engine.answered(tag) == data, "echo gave something else")


@checks.add(24, "9")
async def others_pass_between_parts(at: ContainerUnderTest) -> None:
    """PING and small requests between the parts of a REQUEST are answered before it is complete."""
    async with at.greeted() as engine:
        tag, record, data = _large(engine, 2 * PART_BYTES)
        first, *rest = in_parts(tag, record, data)
        engine.send(first)
        await engine.pinged()
        asked = engine.request("seen", "between")
        await engine.answered(asked)
        for frames in rest:
            engine.send(frames)
        expect(await engine.answered(tag) == data, "echo gave something else")


@checks.add(24, "9")
async def one_in_parts_at_a_time(at: ContainerUnderTest) -> None:
    """Of several large answers the parts of one follow each other, from the first to the last."""
    async with at.greeted() as engine:
        several = [_large(engine, 2 * PART_BYTES) for _ in range(3)]
        for tag, record, data in several:
            await engine.say_large(record, tag, data)
        for tag, _, data in several:
            expect(await engine.answered(tag) == data, "echo gave something else")


@checks.add(25, "9")
async def taken_is_told(at: ContainerUnderTest) -> None:
    """TAKEN comes with every MiB of pieces that was read, and with the last part; it is the sum so far."""
    async with at.greeted() as engine:
        tag, record, data = _large(engine, 3 * PART_BYTES)
        sent = await engine.say_large(record, tag, data)
        await engine.answered(tag)
        while (told := (await engine.hear(Kind.TAKEN)).record[1]) < sent:
            pass
        expect(told == sent, f"TAKEN tells {told:,} of {sent:,} bytes")
        all_told = [one.record[1] for one in engine.told(Kind.TAKEN)]
        steps = [high - low for low, high in zip([0, *all_told], all_told, strict=False)]
        expect(max(steps) < 2 * PART_BYTES, f"TAKEN came with {all_told}")


@checks.add(26, "9")
async def parts_that_do_not_fit(at: ContainerUnderTest) -> None:
    """Sizes beyond the limits, a wrong offset, more bytes than announced, and what has not begun are MALFORMED."""
    async with at.greeted() as engine:
        most = engine.welcomed["limits"].get("message_bytes", 1 << 26)
        cases: dict[str, list[tuple[int, list[int] | None, bytes]]] = {
            "sizes beyond message_bytes": [(0, [most], b"x")],
            "sizes of nothing": [(0, [0], b"x")],
            "sizes of 4,097 frames": [(0, [1] * 4097, b"x")],
            "more bytes than announced": [(0, [2], b"xxx")],
            "a part of what has not begun": [(5, None, b"x")],
            "a gap": [(0, [100], b"x" * 10), (20, None, b"x")],
        }
        for what, parts in cases.items():
            tag = secrets.token_bytes(16)
            for part in parts:
                engine.send(_part(tag, *part))
            heard = await engine.hear(*_ANSWERS, tag=tag)
            right = heard.kind == Kind.ERROR and heard.record[1] == Code.MALFORMED
            expect(right, f"{what} got {shown(heard, NAMES)}")
        tag = secrets.token_bytes(16)
        body = pack([Kind.PING, 1])
        engine.send(_part(tag, 0, [len(body)], body))
        await engine.refused(tag, Code.MALFORMED, NO)
        await serves(engine)
    async with at.connected() as stranger:
        tag = secrets.token_bytes(16)
        stranger.send(_part(tag, 0, [10], b"x"))
        await stranger.refused(tag, Code.NO_SESSION, NO)


@checks.add(26, "9")
async def cancel_between_parts(at: ContainerUnderTest) -> None:
    """Behind a CANCEL in the middle of its parts a request is not run, and what still comes of it is ignored."""
    async with at.greeted() as engine:
        tag, record, data = _large(engine, 3 * PART_BYTES)
        first, *rest = in_parts(tag, record, data)
        engine.send(first)
        engine.say([Kind.CANCEL], tag)
        for frames in rest:
            engine.send(frames)
        await engine.pinged()
        await engine.silent(A_WHILE, *_ANSWERS)
        again, record, data = _large(engine, 2 * PART_BYTES)
        await engine.say_large(record, again, data)
        expect(await engine.answered(again) == data, "the next one in parts gave something else")


@checks.add(27, "9")
async def parts_begin_anew(at: ContainerUnderTest) -> None:
    """A request whose parts were cut off with the connection has not run, and is read when it comes again."""
    async with at.greeted() as first:
        tag, record, data = _large(first, 3 * PART_BYTES)
        frames, *_ = in_parts(tag, record, data)
        first.send(frames)
        await first.pinged()
        first.lose()
        async with at.greeted(2, session=first.session) as second:
            await second.silent(0.2, *_ANSWERS)
            await second.say_large(record, tag, data)
            expect(await second.answered(tag) == data, "echo gave something else")


@checks.add(20, "6")
async def a_large_answer_is_not_kept(at: ContainerUnderTest) -> None:
    """An answer larger than reply_bytes is not kept, but that it was given: its request gets ERROR(NOT_KEPT, YES)."""
    async with at.greeted() as engine:
        if not at.is_resuming:
            raise NotJudged("it keeps no answers: level 1")
        kept = engine.welcomed["limits"].get("reply_bytes", 8 << 20)
        tag, record, data = _large(engine, kept + 1)
        await engine.say_large(record, tag, data)
        expect(await engine.answered(tag) == data, "echo gave something else")
        await engine.say_large(record, tag, data)
        await engine.refused(tag, Code.NOT_KEPT, YES)
