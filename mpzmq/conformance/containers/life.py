"""Level 1 of containers: what they tell of their reading, and their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...protocol.wire.kinds import UNASKED, Code, Goodbye, Kind
from ..checks import Checks, expect
from ..frames import shown
from ..shapes import NAMES

if TYPE_CHECKING:
    from ..container_under_test import ContainerUnderTest
    from ..raw_engine import RawEngine

__all__ = ["checks"]

checks = Checks(level=1)

NO = 0
A_WHILE = 0.4
_ANSWERS = (Kind.RESPONSE, Kind.ERROR)
_MANY = 4096
"""Messages of which a quarter of the window is tried out; a container with a larger window is not judged by it."""


@checks.add(14, "9")
async def pong_counts_what_was_read(at: ContainerUnderTest) -> None:
    """PONG has the messages and bytes behind the one with HELLO, of whatever kind, and is the same for nobody else."""
    async with at.greeted() as engine, at.greeted() as other:
        for length in (0, 10, 3000):
            await engine.call("echo", "x" * length)
            engine.say([Kind.RECEIVED, engine.sequence + 1, b""])
            heard = await engine.pinged(length + 1)
            expect(
                heard.record[2:4] == [engine.sent, engine.sent_bytes],
                f"{engine.sent} messages of {engine.sent_bytes} bytes were sent, and then came {shown(heard, NAMES)}",
            )
        heard = await other.pinged()
        came = f"on another connection, of 1 message and {other.sent_bytes} bytes, came {shown(heard, NAMES)}"
        expect(heard.record[2:4] == [1, other.sent_bytes], came)


@checks.add(14, "9")
async def pong_unasked_for_messages(at: ContainerUnderTest) -> None:
    """When a quarter of the window's messages was read, PONG comes unasked, with the number 0 and the counts."""
    async with at.greeted() as engine:
        quarter = -(-engine.welcomed["window"][0] // 4)
        told = 0
        for _ in range(2 if quarter <= _MANY else 0):
            while engine.sent < told + quarter:
                engine.request("no such function")
            told = await _told(engine)


@checks.add(14, "9")
async def pong_unasked_for_bytes(at: ContainerUnderTest) -> None:
    """When a quarter of the window's bytes was read, PONG comes unasked, with the number 0 and the counts."""
    async with at.greeted() as engine:
        _, window = engine.welcomed["window"]
        size = min(engine.welcomed["limits"].get("message_bytes", 1 << 20), 1 << 20) - 4096
        count = -(-window // (4 * size))
        if count < engine.welcomed["window"][0] // 4:
            data = bytes(size)
            for _ in range(count):
                engine.request("no such function", data)
            await _told(engine)


async def _told(engine: RawEngine) -> int:
    """PONG with the number 0 comes, and tells of no more than was sent; returns of how many messages."""
    heard = await engine.hear(Kind.PONG)
    expect(heard.record[1] == UNASKED, f"nobody has sent PING, and then came {shown(heard, NAMES)}")
    within = 0 < heard.record[2] <= engine.sent and 0 < heard.record[3] <= engine.sent_bytes
    expect(within, f"{engine.sent} messages of {engine.sent_bytes} bytes were sent; {shown(heard, NAMES)}")
    return int(heard.record[2])


@checks.add(15, "11", last=True)
async def it_drains(at: ContainerUnderTest) -> None:
    """drain() brings GOODBYE(DRAINING) to all; new requests get ERROR(DRAINING, NO), what runs is answered; then PING,
    and GOODBYE(CLOSED) when each engine has answered."""
    async with at.greeted() as busy, at.greeted() as idle, at.connected() as late:
        running = busy.request("later", "drained", 1.0)
        await busy.pinged()
        await idle.call("drain")
        for engine in (busy, idle):
            await _said(engine, Goodbye.DRAINING)
        await idle.refused(idle.request("echo", 1), Code.DRAINING, NO)
        await late.greet()
        await _said(late, Goodbye.DRAINING)
        expect(not busy.told(*_ANSWERS), "what runs was answered before its end")
        busy.is_courteous = False  # so that it waits for this one's PONG
        expect(await busy.answered(running) == "drained", "what ran was answered with something else")
        pings = [await busy.hear(Kind.PING)]
        while busy.records.index(pings[-1]) < busy.records.index(busy.told(Kind.RESPONSE)[-1]):
            pings.append(await busy.hear(Kind.PING))
        await busy.silent(A_WHILE, Kind.GOODBYE)
        expect(not busy.has_ended, "it has ended before each engine had answered its PING")
        busy.is_courteous = True
        for ping in [*pings, *busy.unclaimed(Kind.PING)]:
            busy.answer(ping)
        for engine in (busy, idle, late):
            await _said(engine, Goodbye.CLOSED)


async def _said(engine: RawEngine, code: int) -> None:
    heard = await engine.hear(Kind.GOODBYE)
    expect(heard.record[1] == code, f"where GOODBYE with code {code} was due: {shown(heard, NAMES)}")
