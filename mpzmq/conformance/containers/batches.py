"""Level 3 of containers: several records in a message."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from ...protocol.wire.kinds import Code, Kind
from ..checks import Checks, expect
from ..frames import BATCH_BYTES, in_frame, pack
from .calls import A_WHILE, begun, serves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..container_under_test import ContainerUnderTest
    from ..raw_engine import RawEngine

__all__ = ["checks"]

checks = Checks(level=3)

NO = 0
_ANSWERS = (Kind.RESPONSE, Kind.ERROR)


def _batch(
    engine: RawEngine, records: Sequence[list[Any] | bytes], *buffers: bytes, behind: bytes = b""
) -> list[bytes]:
    """Sends records, or bytes in the place of one, in one message; returns their tags."""
    tags = [secrets.token_bytes(16) for _ in records]
    body = b"".join(record if isinstance(record, bytes) else pack(record) for record in records)
    engine.send([b"".join(tags), body + behind, *buffers])
    return tags


@checks.add(22, "2")
async def a_batch_is_read(at: ContainerUnderTest) -> None:
    """A message of as many records as batch_records tells is read; answers come in messages within the engine's own."""
    async with at.greeted(batch_records=4) as engine:
        most = min(engine.welcomed["limits"].get("batch_records", 1), 500)
        tags = _batch(engine, [engine.asked("echo", number) for number in range(most)])
        for number, tag in enumerate(tags):
            expect(await engine.answered(tag) == number, f"echo({number}) was answered with something else")
        for _ in range(6):
            tags = _batch(engine, [engine.asked("echo", "x" * 30_000), engine.asked("echo", "y" * 30_000)])
            for tag in tags:
                await engine.answered(tag)


@checks.add(22, "13")
async def a_batch_beyond_its_size(at: ContainerUnderTest) -> None:
    """Of a message with more records than batch_records, or more than 64 KiB of several, all are MALFORMED, NO."""
    key = secrets.token_hex(4)
    async with at.greeted() as engine:
        most = engine.welcomed["limits"].get("batch_records", 1)
        if most < 10_000:
            tags = _batch(engine, [engine.asked("later", key, 0) for _ in range(most + 1)])
            for tag in (tags[0], tags[most // 2], tags[most - 1]):
                await engine.refused(tag, Code.MALFORMED, NO)
        for tag in _batch(engine, [engine.asked("echo", "x" * BATCH_BYTES), engine.asked("later", key, 0)]):
            await engine.refused(tag, Code.MALFORMED, NO)
        expect(await begun(engine, key) == 0, "it has run")


@checks.add(23, "13")
async def each_record_counts_by_itself(at: ContainerUnderTest) -> None:
    """A malformed record is so alone; one that cannot be decoded takes along what stands behind it, not before it."""
    async with at.greeted() as engine:
        wrong: list[Any] = [Kind.REQUEST, 1, "soon", 0, 3, "echo", [1], None, None]
        one, two, three = _batch(engine, [engine.asked("echo", 1), wrong, engine.asked("echo", 3)])
        await engine.refused(two, Code.MALFORMED, NO)
        expect((await engine.answered(one), await engine.answered(three)) == (1, 3), "the sound ones failed")
        one, two, three = _batch(engine, [engine.asked("echo", 1), b"\xc1", engine.asked("echo", 3)])
        for tag in (two, three):
            await engine.refused(tag, Code.MALFORMED, NO)
        expect(await engine.answered(one) == 1, "the one before it was answered with something else")
        for tag in _batch(engine, [engine.asked("echo", 1), engine.asked("echo", 2)], behind=b"\x00"):
            await engine.refused(tag, Code.MALFORMED, NO)
        await serves(engine)


@checks.add(23, "4")
async def buffers_are_counted_over_the_message(at: ContainerUnderTest) -> None:
    """Each buffer is referred to once, in rising order over all records; else all of them are MALFORMED, NO."""
    data, more = b"first", b"second"
    async with at.greeted() as engine:
        asked = [engine.asked("echo", in_frame(0)), engine.asked("echo", in_frame(1))]
        one, two = _batch(engine, asked, data, more)
        expect((await engine.answered(one), await engine.answered(two)) == (data, more), "they came out otherwise")
        for first, second, buffers in (
            (in_frame(1), in_frame(0), (data, more)),
            (in_frame(0), in_frame(0), (data,)),
            (in_frame(0), 1, (data, more)),
            (in_frame(0), in_frame(1), (data,)),
            (1, 2, (data,)),
        ):
            for tag in _batch(engine, [engine.asked("echo", first), engine.asked("echo", second)], *buffers):
                await engine.refused(tag, Code.MALFORMED, NO)
        await serves(engine)


@checks.add(23, "3")
async def cancel_in_the_same_message(at: ContainerUnderTest) -> None:
    """A CANCEL behind its REQUEST in one message stops it: no answer comes, and it has not run."""
    key, tag = secrets.token_hex(4), secrets.token_bytes(16)
    async with at.greeted() as engine:
        engine.send([tag + tag, pack(engine.asked("later", key, 0), [Kind.CANCEL])])
        await engine.silent(A_WHILE, *_ANSWERS)
        expect(await begun(engine, key) == 0, "it has run")
