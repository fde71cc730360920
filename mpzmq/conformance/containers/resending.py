"""Level 2 of containers: sessions that outlive their connections, and answers that are kept."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from ...protocol.wire.kinds import Code, Flag, Kind
from ..checks import Checks, expect
from .calls import begun, serves

if TYPE_CHECKING:
    from ..container_under_test import ContainerUnderTest

__all__ = ["checks"]

checks = Checks(level=2)

NO, UNKNOWN = 0, 1
_ANSWERS = (Kind.RESPONSE, Kind.ERROR)
A_WHILE = 0.4


@checks.add(19, "5")
async def a_known_session_is_resumed(at: ContainerUnderTest) -> None:
    """HELLO of a known session with a higher number gets resumed true; one that is not higher gets no answer."""
    async with at.greeted(3) as first:
        async with at.connected() as lower:
            for number in (1, 3):
                lower.say(lower.hello(number, session=first.session))
            await lower.silent(A_WHILE, Kind.WELCOME)
        await serves(first)
        first.lose()
        for number in (4, 9):
            async with at.greeted(number, session=first.session) as again:
                expect(again.welcomed["resumed"] is True, f"HELLO {number} of a known session got resumed false")
                same = again.welcomed["instance"] == first.welcomed["instance"]
                expect(same, "the same container has told another instance")
                again.lose()


@checks.add(19, "6")
async def what_runs_goes_on(at: ContainerUnderTest) -> None:
    """What runs when the connection is lost goes on; its answer comes on the next one, before it is asked for again."""
    key = secrets.token_hex(4)
    async with at.greeted() as first:
        tag = first.request("later", key, 0.8)
        await first.pinged()
        first.lose()
        async with at.greeted(2, session=first.session) as second:
            expect(await second.answered(tag) == key, "it was answered with something else")
            second.sequence = first.sequence
            expect(await begun(second, key) == 1, "it has run more than once")


@checks.add(19, "5")
async def answers_go_to_the_newest(at: ContainerUnderTest) -> None:
    """An answer goes to the newest connection only, though the older one is still there."""
    async with at.greeted() as old:
        tag = old.request("later", "newest", 0.5)
        await old.pinged()
        async with at.greeted(2, session=old.session) as new:
            expect(await new.answered(tag) == "newest", "it was answered with something else")
            await old.silent(A_WHILE, *_ANSWERS, tag=tag)


@checks.add(20, "6")
async def an_answer_is_given_again(at: ContainerUnderTest) -> None:
    """A REQUEST that comes again, on the same connection or the next, is answered as before and does not run again."""
    key = secrets.token_hex(4)
    async with at.greeted() as first:
        tag = first.request("later", key, 0)
        number = first.sequence
        await first.answered(tag)
        first.request("later", key, 0, sequence=number, tag=tag)
        expect(await first.answered(tag) == key, "on the same connection it was answered with something else")
        first.lose()
        async with at.greeted(2, session=first.session) as second:
            second.sequence = number
            second.request("later", key, 0, sequence=number, tag=tag)
            expect(await second.answered(tag) == key, "on the next connection it was answered with something else")
            expect(await begun(second, key) == 1, "it has run more than once")


@checks.add(20, "6")
async def what_was_received_is_forgotten(at: ContainerUnderTest) -> None:
    """What RECEIVED has named, and whose number is below the low-water mark, is STALE, UNKNOWN, and does not run."""
    key = secrets.token_hex(4)
    async with at.greeted() as engine:
        tag = engine.request("later", key, 0)
        await engine.answered(tag)
        engine.say([Kind.RECEIVED, engine.sequence + 1, tag])
        engine.request("later", key, 0, sequence=engine.sequence, tag=tag)
        await engine.refused(tag, Code.STALE, UNKNOWN)
        expect(await begun(engine, key) == 1, "it has run more than once")


@checks.add(21, "6")
async def what_comes_again_joins(at: ContainerUnderTest) -> None:
    """A REQUEST that comes again while it runs joins: one run, one answer, whichever connection it comes on."""
    key = secrets.token_hex(4)
    async with at.greeted() as first:
        tag = first.request("later", key, 1.0)
        number = first.sequence
        first.request("later", key, 1.0, sequence=number, tag=tag)
        await first.pinged()
        first.lose()
        async with at.greeted(2, session=first.session) as second:
            second.sequence = number
            second.request("later", key, 1.0, sequence=number, tag=tag)
            expect(await second.answered(tag) == key, "it was answered with something else")
            await second.silent(A_WHILE, *_ANSWERS, tag=tag)
            expect(await begun(second, key) == 1, "it has run more than once")


@checks.add(21, "6")
async def another_request_of_that_tag(at: ContainerUnderTest) -> None:
    """Another number under a tag that runs, or was answered, gets ERROR(ID_REUSED, NO), and does not run."""
    key, other = secrets.token_hex(4), secrets.token_hex(4)
    async with at.greeted() as engine:
        running = engine.request("later", key, 0.6)
        engine.request("later", other, 0, tag=running)
        await engine.refused(running, Code.ID_REUSED, NO)
        expect(await engine.answered(running) == key, "what runs under the tag was answered with something else")
        engine.request("later", other, 0, tag=running)
        await engine.refused(running, Code.ID_REUSED, NO)
        expect(await begun(engine, other) == 0, "it has run")


@checks.add(21, "6")
async def ids_that_callers_chose(at: ContainerUnderTest) -> None:
    """With CHOSEN the same question under another number gets its answer again, another one ERROR(ID_REUSED, NO)."""
    key, other = secrets.token_hex(4), secrets.token_hex(4)
    async with at.greeted() as engine:
        tag = engine.request("later", key, 0, flags=Flag.CHOSEN)
        await engine.answered(tag)
        engine.request("later", key, 0, flags=Flag.CHOSEN, tag=tag)
        expect(await engine.answered(tag) == key, "the same question was answered with something else")
        expect(await begun(engine, key) == 1, "it has run more than once")
        engine.request("later", other, 0, flags=Flag.CHOSEN, tag=tag)
        await engine.refused(tag, Code.ID_REUSED, NO)
        engine.request("later", key, 0, tag=tag)
        await engine.refused(tag, Code.ID_REUSED, NO)
        expect(await begun(engine, other) == 0, "another question has run")


@checks.add(21, "6")
async def below_the_low_water_mark(at: ContainerUnderTest) -> None:
    """A REQUEST that is not known, below the low-water mark, gets ERROR(STALE, UNKNOWN), and does not run."""
    key = secrets.token_hex(4)
    async with at.greeted() as engine:
        engine.sequence = 20
        engine.say([Kind.RECEIVED, 10, b""])
        await engine.refused(engine.request("later", key, 0, sequence=9), Code.STALE, UNKNOWN)
        expect(await engine.answered(engine.request("later", key, 0, sequence=10)) == key, "number 10 was refused")
        expect(await begun(engine, key) == 1, "number 9 has run")
