"""Level 1 of engines: how much they send, what they tell, and what becomes of requests when a connection ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ...protocol.wire.kinds import Code, Goodbye, Kind
from ..checks import Checks, Violation, expect
from ..frames import shown
from ..shapes import NAMES
from .calls import answer_all

if TYPE_CHECKING:
    from ..engine_under_test import EngineUnderTest
    from ..frames import Heard
    from ..raw_container import RawConnection, RawContainer

__all__ = ["checks"]

checks = Checks(level=1)

NO, YES = 0, 2
A_WHILE = 0.6
_NEW = (Kind.REQUEST, Kind.PART)
_ROUNDS = 96
_KEPT = 64
"""Replies that a container keeps beyond in_flight, where it keeps as many as may be in flight."""


async def _unanswered(connection: RawConnection) -> list[Heard]:
    """The requests that leave while none is answered."""
    found = [await connection.request()]
    while True:
        try:
            found.append(await connection.request(A_WHILE))
        except Violation:
            connection.blame()
            return found


async def _within(at: EngineUnderTest, container: RawContainer, most: int, times: int, **welcome: Any) -> None:
    """Of so many calls no more than that are unanswered at a time, and all of them are made in the end."""
    job = at.call(container, "echo", 1, times=times)
    connection = await container.greeted(**welcome)
    connection.is_courteous = False  # a PONG would tell that what is unanswered was read
    left = times
    while left:
        requests = await _unanswered(connection)
        expect(len(requests) <= most, f"{len(requests)} requests were unanswered at a time; {most} may be")
        for request in requests:
            connection.respond(request, 1)
        connection.tell()
        left -= len(requests)
    failed = [str(told) for told in await job.outcomes() if told.value != 1]
    expect(not failed, f"{len(failed)} of {times} calls did not give 1: {failed[:1]}")


@checks.add(6, "9")
async def the_window_in_messages(at: EngineUnderTest) -> None:
    """No more requests are unanswered than half of the window's messages; beyond level 1, than the window."""
    async with at.listening() as container:
        assert at.driver is not None
        window = 20
        most = window // 2 if at.driver.level == 1 else window
        await _within(at, container, most, 3 * window, window=[window, 1 << 26])


@checks.add(6, "6")
async def as_many_as_are_kept(at: EngineUnderTest) -> None:
    """No more requests are unanswered than reply_entries, and 64 where that is in_flight; at level 1, than both."""
    assert at.driver is not None
    async with at.listening() as container:
        await _within(at, container, 7, 20, limits={"reply_entries": 7})
    is_simple = at.driver.level == 1
    async with at.listening() as container:
        most = 5 if is_simple else 5 + _KEPT
        await _within(at, container, most, most + 10, limits={"in_flight": 5, "reply_entries": 5})
    if is_simple:
        async with at.listening() as container:
            await _within(at, container, 5, 20, limits={"in_flight": 5})


@checks.add(6, "6")
async def as_many_as_have_room(at: EngineUnderTest) -> None:
    """No more requests are unanswered than reply_bytes / 336, of which 64 may always be."""
    async with at.listening() as container:
        await _within(at, container, 80, 150, limits={"reply_bytes": 80 * 336})


@checks.add(7, "6")
async def answers_are_acknowledged(at: EngineUnderTest) -> None:
    """RECEIVED comes with every 32nd answer at least, and with a low water that no number still to come is below."""
    async with at.listening() as container:
        first = at.call(container, "echo", 1)
        connection = await container.greeted()
        await answer_all(connection, 1)
        await first.gives(1)
        for _ in range(_ROUNDS // 32):
            job = at.call(container, "echo", 1, times=32)
            await answer_all(connection, 32)
            await job.outcomes()
        job = at.call(container, "echo", "last")
        await answer_all(connection, 1)
        await job.gives("last")
        told = connection.told(Kind.RECEIVED)
        expect(len(told) >= _ROUNDS // 32 - 1, f"RECEIVED came {len(told)} times for {_ROUNDS + 2} answers")
        highest = 0
        answered = {one.tag for one in connection.told(Kind.REQUEST)}
        for one in connection.records:
            if one.kind == Kind.REQUEST:
                highest = one.record[1]
            elif one.kind == Kind.RECEIVED:
                _, low_water, tags = one.record
                expect(low_water <= highest + 1, f"behind REQUEST {highest} came {shown(one, NAMES)}")
                named = {tags[at : at + 16] for at in range(0, len(tags), 16)}
                expect(named <= answered, f"RECEIVED names what was not answered: {shown(one, NAMES)}")
        if connection.level == 1:
            came = f"{len(told)} RECEIVED for {_ROUNDS + 2} answers"
            expect(len(told) >= _ROUNDS // 32, came)
            low = [one.record[1] for one in told]
            expect(low[-1] > _ROUNDS - 32 and low == sorted(low), f"{came}, with the low water {low}")
            expect(not any(one.record[2] for one in told), f"{came}, with tags")


@checks.add(8, "6")
async def a_cut_leaves_it_unknown(at: EngineUnderTest) -> None:
    """What has left and was not answered when its connection ends is UNKNOWN, or YES behind STARTED; it is not sent to
    another instance, and what was answered or refused before keeps its outcome."""
    async with at.listening() as container:
        names = ("silent", "started", "answered", "refused")
        jobs = {name: at.call(container, name, name, timeout=20.0) for name in names}
        connection = await container.greeted()
        requests: dict[str, Heard] = {}
        for _ in names:
            request = await connection.request()
            requests[request.record[5]] = request
        connection.say([Kind.STARTED], requests["started"].tag)
        connection.respond(requests["answered"], "answered")
        connection.refuse(requests["refused"], Code.REFUSED, NO)
        await jobs["answered"].gives("answered")
        await jobs["refused"].fails("NO")
        await container.cut()
        following = await container.greeted()
        behind = at.call(container, "echo", "behind")
        request = await following.request()
        expect(request.record[5] == "echo", f"what had left was sent again: {shown(request, NAMES)}")
        following.respond(request, "behind")
        await behind.gives("behind")
        await jobs["silent"].fails("UNKNOWN")
        await jobs["started"].fails("YES")
        await following.silent(0.2, *_NEW)


@checks.add(8, "6")
async def what_never_left_has_not_run(at: EngineUnderTest) -> None:
    """What waits for room when the connection ends leaves on the next one, or has not run."""
    async with at.listening() as container:
        job = at.call(container, "echo", 1, times=30, timeout=20.0)
        connection = await container.greeted(window=[8, 1 << 26], limits={"reply_entries": 4})
        left = await _unanswered(connection)
        await container.cut()
        following = await container.greeted()
        while not job.is_done:
            try:
                await answer_all(following, 1)
            except Violation:
                break
        told = [one.executed for one in await job.outcomes()]
        counts = f"{told.count(None)} answered, {told.count('NO')} NO, {told.count('UNKNOWN')} UNKNOWN"
        expect(told.count("UNKNOWN") == len(left), f"{len(left)} of 30 had left, and then: {counts}")


@checks.add(9, "11")
async def behind_draining_nothing_new(at: EngineUnderTest) -> None:
    """Behind GOODBYE(DRAINING) nothing new leaves on the connection; what runs is answered there, PING too."""
    async with at.listening() as container:
        running = at.call(container, "echo", "running")
        connection = await container.greeted()
        request = await connection.request()
        connection.goodbye(Goodbye.DRAINING)
        connection.say([Kind.PING, 4])
        await connection.hear(Kind.PONG)
        new = at.call(container, "echo", "new")
        await connection.silent(A_WHILE, *_NEW)
        expect(not connection.has_ended, "the connection was ended, though what runs there was not answered")
        connection.respond(request, "running")
        await running.gives("running")
        connection.goodbye(Goodbye.CLOSED)
        await connection.silent(0.1, *_NEW)
        await container.cut()
        await answer_all(await container.greeted(), 1)
        await new.gives("new")


@checks.add(9, "11")
async def behind_closed_nothing(at: EngineUnderTest) -> None:
    """Behind GOODBYE(CLOSED) nothing new leaves, and at level 1 the engine ends the connection."""
    async with at.listening() as container:
        running = at.call(container, "echo", "running")
        connection = await container.greeted()
        await connection.request()
        connection.goodbye(Goodbye.CLOSED)
        with contextlib.suppress(Violation):  # that it takes no more: it has ended already
            connection.say([Kind.PING, 4])  # answered, or the connection ends: GOODBYE has been read
        await connection.until(
            lambda: connection.has_ended or bool(connection.unclaimed(Kind.PONG)), connection.patience
        )
        new = at.call(container, "echo", "new")
        await connection.silent(A_WHILE, *_NEW)
        if connection.level == 1:
            await connection.ended()
        await container.cut()
        await running.fails("UNKNOWN")
        await answer_all(await container.greeted(), 1)
        await new.gives("new")


@checks.add(9, "11")
async def behind_error_draining_nothing_new(at: EngineUnderTest) -> None:
    """Behind ERROR(DRAINING) nothing new leaves there; the request has not run, or leaves on the next connection."""
    async with at.listening() as container:
        refused = at.call(container, "echo", "refused")
        connection = await container.greeted()
        connection.refuse(await connection.request(), Code.DRAINING, NO)
        connection.say([Kind.PING, 4])
        await connection.hear(Kind.PONG)
        new = at.call(container, "echo", "new")
        await connection.silent(A_WHILE, *_NEW)
        await container.cut()
        following = await container.greeted()
        while not (new.is_done and refused.is_done):
            try:
                request = await following.request(A_WHILE)
            except Violation:
                following.blame()
                break
            following.respond(request, request.record[6][0])
        await new.gives("new")
        (told,) = await refused.outcomes()
        expect(told.value == "refused" or told.executed == "NO", f"what was refused gave {told}")


@checks.add(9, "5")
async def behind_no_session_it_dials_anew(at: EngineUnderTest) -> None:
    """Behind ERROR(NO_SESSION) the engine ends the connection and greets on another; the request has not run, or leaves
    there."""
    async with at.listening() as container:
        refused = at.call(container, "echo", "refused")
        connection = await container.greeted()
        connection.refuse(await connection.request(), Code.NO_SESSION, NO)
        await connection.ended()
        following = await container.greeted()
        new = at.call(container, "echo", "new")
        while not (new.is_done and refused.is_done):
            try:
                request = await following.request(A_WHILE)
            except Violation:
                following.blame()
                break
            following.respond(request, request.record[6][0])
        await new.gives("new")
        (told,) = await refused.outcomes()
        expect(told.value == "refused" or told.executed == "NO", f"what was refused gave {told}")


@checks.add(10, "11")
async def it_says_goodbye(at: EngineUnderTest) -> None:
    """An engine that is closed says GOODBYE(CLOSED) last, and ends the connection; what has left is not answered NO."""
    async with at.listening() as container:
        running = at.call(container, "echo", "running")
        connection = await container.greeted()
        await connection.request()
        job = at.leave(container)
        heard = await connection.hear(Kind.GOODBYE)
        expect(heard.record[1] == Goodbye.CLOSED, f"it leaves with {shown(heard, NAMES)}")
        await job.outcomes()
        await running.fails("UNKNOWN")
        await connection.ended(at.patience)
        expect(connection.records[-1].kind == Kind.GOODBYE, f"behind it came {shown(connection.records[-1], NAMES)}")
