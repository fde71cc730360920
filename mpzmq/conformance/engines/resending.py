"""Level 2 of engines: one session over all connections, and what leaves again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from ...protocol.wire.kinds import Kind
from ..checks import Checks, expect
from ..frames import shown
from ..shapes import NAMES

if TYPE_CHECKING:
    from ..engine_under_test import EngineUnderTest
    from ..raw_container import RawConnection, RawContainer

__all__ = ["checks", "resumed"]

checks = Checks(level=2)

A_WHILE = 0.4
_NEW = (Kind.REQUEST, Kind.PART)


async def resumed(container: RawContainer, before: RawConnection, instance: UUID, **changes: Any) -> RawConnection:
    """Cuts a connection; the next one, of the same session, behind a WELCOME with resumed true."""
    await container.cut()
    following = await container.connection()
    await following.hello()
    same = following.session == before.session and following.greeting[3] > before.greeting[3]
    came = f"behind {before.session}, number {before.greeting[3]}"
    expect(same, f"{came}, came {following.session}, number {following.greeting[3]}")
    following.say(following.welcome(instance=instance, resumed=True, **changes))
    return following


@checks.add(16, "5")
async def connections_are_one_session(at: EngineUnderTest) -> None:
    """Each HELLO of a link has the same session, and a higher number."""
    instance = uuid4()
    async with at.listening() as container:
        job = at.call(container, "echo", "session")
        connection = await container.greeted(instance=instance)
        for _ in range(2):
            connection = await resumed(container, connection, instance)
        request = await connection.request()
        connection.respond(request, "session")
        await job.gives("session")


@checks.add(17, "6")
async def what_has_left_leaves_again(at: EngineUnderTest) -> None:
    """Behind WELCOME with resumed true all that is unanswered leaves again, in order and before what is new."""
    instance = uuid4()
    async with at.listening() as container:
        jobs = [at.call(container, "echo", number) for number in range(4)]
        first = await container.greeted(instance=instance)
        requests = [await first.request() for _ in range(4)]
        first.respond(requests[1], requests[1].record[6][0])
        await jobs[requests[1].record[6][0]].gives(requests[1].record[6][0])
        left = [requests[0], *requests[2:]]
        await container.cut()
        second = await container.connection()
        await second.hello()
        new = at.call(container, "echo", "new")
        await second.silent(A_WHILE, *_NEW)
        second.say(second.welcome(instance=instance, resumed=True))
        again = [await second.request() for _ in range(4)]
        due = [(one.tag, one.record[1]) for one in left]
        came = [(one.tag, one.record[1]) for one in again[:3]]
        expect(
            came == due, f"where {[number for _, number in due]} were due came {[shown(one, NAMES) for one in again]}"
        )
        for one in again:
            second.respond(one, one.record[6][0])
        for number, job in enumerate(jobs):
            await job.gives(number)
        await new.gives("new")


@checks.add(17, "6")
async def an_answer_before_it_is_asked_again(at: EngineUnderTest) -> None:
    """An answer that comes right behind WELCOME ends its request."""
    instance = uuid4()
    async with at.listening() as container:
        job = at.call(container, "echo", "owed")
        first = await container.greeted(instance=instance)
        request = await first.request()
        second = await resumed(container, first, instance)
        second.respond(request, "owed")
        await job.gives("owed")


@checks.add(17, "6")
async def not_to_who_has_forgotten(at: EngineUnderTest) -> None:
    """Behind WELCOME with resumed false nothing leaves again: it is UNKNOWN, or YES behind STARTED."""
    instance = uuid4()
    async with at.listening() as container:
        silent, started = at.call(container, "silent", 1), at.call(container, "started", 1)
        first = await container.greeted(instance=instance)
        for _ in range(2):
            request = await first.request()
            if request.record[5] == "started":
                first.say([Kind.STARTED], request.tag)
        first.say([Kind.PING, 9])
        await first.hear(Kind.PONG)
        await container.cut()
        second = await container.greeted(instance=instance)
        await silent.fails("UNKNOWN")
        await started.fails("YES")
        await second.silent(A_WHILE, *_NEW)


@checks.add(18, "6")
async def received_spares_what_may_leave(at: EngineUnderTest) -> None:
    """RECEIVED names answers that have come, and no number that may still leave; what it named leaves no more."""
    instance = uuid4()
    async with at.listening() as container:
        open_one = at.call(container, "open", 1)
        first = await container.greeted(instance=instance)
        oldest = await first.request()
        for _ in range(3):
            job = at.call(container, "echo", 1, times=40)
            for _ in range(40):
                request = await first.request()
                first.respond(request, 1)
            await job.outcomes()
        told = first.told(Kind.RECEIVED)
        expect(bool(told), "RECEIVED did not come for 120 answers")
        named: set[bytes] = set()
        for one in told:
            _, low_water, tags = one.record
            expect(low_water <= oldest.record[1], f"REQUEST {oldest.record[1]} is open: {shown(one, NAMES)}")
            named |= {tags[place : place + 16] for place in range(0, len(tags), 16)}
        expect(bool(named) and oldest.tag not in named, f"it names {len(named)} answers")
        second = await resumed(container, first, instance)
        again = await second.request()
        expect(again.tag == oldest.tag, f"where REQUEST {oldest.record[1]} was due: {shown(again, NAMES)}")
        second.respond(again, 1)
        await open_one.gives(1)
        await second.silent(0.1, *_NEW)
