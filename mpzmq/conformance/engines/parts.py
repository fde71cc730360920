"""Level 3 of engines: several records in a message, and large ones in parts."""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING
from uuid import uuid4

from ...protocol.wire.kinds import Kind
from ..checks import Checks, expect
from ..frames import PART_BYTES, in_frame, pack
from ..reassembly import UNREAD
from .resending import resumed

if TYPE_CHECKING:
    from ..engine_under_test import EngineUnderTest

__all__ = ["checks"]

checks = Checks(level=3)

A_WHILE = 0.6
_NEW = (Kind.REQUEST, Kind.PART)


@checks.add(22, "2")
async def requests_within_the_batch(at: EngineUnderTest) -> None:
    """No message has more records than batch_records tells, nor, with several, more than 64 KiB."""
    async with at.listening() as container:
        small = at.call(container, "echo", 1, times=200)
        large = at.call(container, "echo", "x" * 20_000, times=20)
        connection = await container.connection()
        connection.most_records = 4
        await connection.greet(limits={"batch_records": 4})
        for _ in range(220):
            request = await connection.request()
            connection.respond(request, request.record[6][0])
        for job in (small, large):
            failed = [str(told) for told in await job.outcomes() if told.executed]
            expect(not failed, f"{len(failed)} calls failed: {failed[:1]}")


@checks.add(23, "13")
async def answers_in_a_batch(at: EngineUnderTest) -> None:
    """A message of several answers is read, with their buffers; one of them that is malformed is so alone."""
    async with at.listening() as container:
        jobs = [at.call(container, "echo", number, timeout=2.0) for number in range(8)]
        connection = await container.greeted()
        requests = [await connection.request() for _ in range(8)]
        expect(connection.limits.get("batch_records", 1) >= 8, "its batch_records is too small for 8 answers")
        data = [secrets.token_bytes(100) for _ in range(2)]
        values: list[object] = [in_frame(0), 1, 2, in_frame(1), 4, 5, 6, 7]
        records = [pack([Kind.RESPONSE, 1, value]) for value in values]
        records[5] = pack([Kind.RESPONSE, "x", 5])
        connection.send([b"".join(one.tag for one in requests), b"".join(records), *data])
        due = [data[0], 1, 2, data[1], 4, None, 6, 7]
        for place, request in enumerate(requests):
            job = jobs[request.record[6][0]]
            await (job.fails("UNKNOWN") if place == 5 else job.gives(due[place]))


@checks.add(24, "9")
async def large_arguments_leave_in_parts(at: EngineUnderTest) -> None:
    """A REQUEST of more than 2,112 KiB leaves in parts, no more than 4 MiB of them unread, as far as TAKEN tells."""
    data = secrets.token_bytes(7 * PART_BYTES)
    async with at.listening() as container:
        job = at.call(container, "size", data)
        connection = await container.connection()
        connection.is_courteous = False
        await connection.greet()
        await connection.silent(A_WHILE, Kind.REQUEST)
        sizes = [sum(map(len, part.record[3])) for part in connection.parts]
        expect(len(sizes) > 1, f"{len(data):,} bytes left in {len(sizes)} parts")
        expect(sum(sizes[:-1]) < UNREAD, f"{sum(sizes):,} bytes of pieces left, of which nothing was taken")
        connection.say([Kind.PING, 5])
        await connection.hear(Kind.PONG)
        connection.is_courteous = True
        connection.say([Kind.TAKEN, sum(sizes)])
        request = await connection.request()
        expect(request.record[6] == [data], "what came in parts is not what was sent")
        connection.respond(request, len(data))
        await job.gives(len(data))


@checks.add(25, "9")
async def large_answers_are_taken(at: EngineUnderTest) -> None:
    """An answer in parts is read; TAKEN comes with every MiB of its pieces, and with the last one."""
    data = secrets.token_bytes(6 * PART_BYTES)
    async with at.listening() as container:
        job = at.call(container, "blank", 1)
        connection = await container.greeted()
        sent = await connection.say_large([Kind.RESPONSE, 1, in_frame(0)], (await connection.request()).tag, data)
        await job.gives(data)
        told = [one.record[1] for one in connection.told(Kind.TAKEN)]
        expect(bool(told) and told[-1] == sent, f"of {sent:,} bytes TAKEN told {told}")
        steps = [high - low for low, high in zip([0, *told], told, strict=False)]
        expect(max(steps) < 2 * PART_BYTES, f"TAKEN came with {told}")


@checks.add(26, "9")
async def parts_that_do_not_fit(at: EngineUnderTest) -> None:
    """A request whose answer comes in parts that do not follow each other ends as UNKNOWN, with a CANCEL."""
    cases: dict[str, list[tuple[int, list[int] | None, bytes]]] = {
        "sizes beyond message_bytes": [(0, [1 << 40], b"x")],
        "more bytes than announced": [(0, [2], b"xxx")],
        "a part of what has not begun": [(5, None, b"x")],
        "a gap": [(0, [100], b"x" * 10), (20, None, b"x")],
        "what is no answer": [(0, [3], pack([Kind.PING, 1]))],
    }
    async with at.listening() as container:
        connection = None
        for what, parts in cases.items():
            job = at.call(container, "echo", what)
            connection = connection or await container.greeted()
            request = await connection.request()
            for offset, sizes, piece in parts:
                told = None if sizes is None else b"".join(struct.pack("!Q", size) for size in sizes)
                connection.send([request.tag, pack([Kind.PART, offset, told, [piece]])])
            await job.fails("UNKNOWN")
            if what != "what is no answer":  # it was read to its end
                await connection.hear(Kind.CANCEL, tag=request.tag)


@checks.add(27, "9")
async def parts_begin_anew(at: EngineUnderTest) -> None:
    """A request of which not all parts have left begins anew with its first part on the next connection."""
    data, instance = secrets.token_bytes(7 * PART_BYTES), uuid4()
    async with at.listening() as container:
        job = at.call(container, "size", data)
        first = await container.connection()
        first.is_courteous = False
        await first.greet(instance=instance)
        await first.until(lambda: len(first.parts) > 1, at.patience)
        if at.is_resuming:
            second = await resumed(container, first, instance)
        else:
            await container.cut()
            second = await container.greeted()
        request = await second.request()
        expect(request.record[6] == [data], "what came in parts is not what was sent")
        second.respond(request, len(data))
        await job.gives(len(data))
