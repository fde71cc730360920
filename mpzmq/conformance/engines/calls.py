"""Level 1 of engines: messages, greetings, requests, and how each of them ends."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgpack

from ...protocol.wire.kinds import Code, Goodbye, Kind, Op
from ...protocol.wire.records import VERSION
from ..checks import Checks, expect
from ..frames import LINK, in_frame, pack, shown
from ..shapes import NAMES

if TYPE_CHECKING:
    from ..engine_under_test import EngineUnderTest
    from ..raw_container import RawConnection, RawContainer

__all__ = ["answer_all", "checks"]

checks = Checks(level=1)

NO, UNKNOWN, YES = 0, 1, 2
A_WHILE = 0.6
"""Seconds in which what must not come does not come."""
LARGE = 20_000
_NEW = (Kind.REQUEST, Kind.PART)


async def answer_all(connection: RawConnection, count: int) -> None:
    """Answers so many requests with their first argument."""
    for _ in range(count):
        request = await connection.request()
        connection.respond(request, request.record[6][0])


async def still_calls(at: EngineUnderTest, container: RawContainer, connection: RawConnection) -> None:
    """The engine still calls on this connection, and takes the answer."""
    word = secrets.token_hex(4)
    job = at.call(container, "echo", word)
    await answer_all(connection, 1)
    await job.gives(word)


@checks.add(1, "2")
async def values_arrive(at: EngineUnderTest) -> None:
    """Arguments and results arrive as they were sent, one record in each message."""
    values: list[Any] = [
        None,
        True,
        0,
        -33,
        2**53 - 1,
        1.5,
        "\u00fc\N{ROCKET}",
        "x" * 70_000,
        [],
        {"a": [{"b": {}}]},
        b"\x00",
    ]
    async with at.listening() as container:
        job = at.call(container, "echo", values)
        connection = await container.greeted()
        request = await connection.request()
        expect(request.record[6] == [values], f"echo was called with {request.record[6]!r:.200}")
        connection.respond(request, values)
        await job.gives(values)


@checks.add(1, "4")
async def buffers_are_read(at: EngineUnderTest) -> None:
    """Bytes in an answer are read as bin of any size, and as ext 1 in each of its three forms."""
    data = secrets.token_bytes(LARGE)
    async with at.listening() as container:
        job = at.call(container, "echo", "bin")
        connection = await container.greeted()
        connection.respond(await connection.request(), data)
        await job.gives(data)
        for form in ((), ("v", "B", [LARGE]), ("a", "|u1", [LARGE])):
            job = at.call(container, "echo", "ext 1")
            connection.respond(await connection.request(), in_frame(0, *form), data)
            (told,) = await job.outcomes()
            # What stands for an array may be an array to the driver, and go on as one.
            same = told.value in (data, list(data))
            expect(same, f"an answer in ext 1 of the form {list(form) or 'index'} gave {told}")
        job = at.call(container, "echo", "uuid")
        value = uuid4()
        connection.respond(await connection.request(), value)
        (told,) = await job.outcomes()
        expect(told.value in (value, value.bytes, str(value)), f"an answer with a UUID gave {told}")


@checks.add(2, "14")
async def what_is_unknown_is_ignored(at: EngineUnderTest) -> None:
    """Unknown kinds under either tag, and fields behind those of the tables, change nothing."""
    async with at.listening() as container:
        job = at.call(container, "echo", "known")
        connection = await container.connection()
        await connection.hello()
        for kind in (11, 20, 31, 99, -1):
            connection.say([kind, "later"])
        connection.say(connection.welcome("later", {"version": 3}, limits={"unheard_of": 7}))
        request = await connection.request()
        for kind in (11, 20, 31, 99, -1, 2**40):
            connection.say([kind, "later"])
            connection.say([kind, "later"], request.tag)
        connection.say([Kind.PING, 77, "later"])
        heard = await connection.hear(Kind.PONG)
        expect(heard.record[1] == 77, f"PING with a field more got {shown(heard, NAMES)}")
        connection.say([Kind.STARTED, "later"], request.tag)
        connection.say([Kind.RESPONSE, 1, "known", "later"], request.tag)
        await job.gives("known")
        job = at.call(container, "echo", "failed")
        connection.say([Kind.ERROR, 99, YES, 1, "x", {"later": 1}, "more"], (await connection.request()).tag)
        await job.fails("YES")
        expect(not connection.has_ended, "the connection was ended")


@checks.add(2, "13")
async def the_unreadable_is_ignored(at: EngineUnderTest) -> None:
    """What cannot be read as a message or a record ends nothing, and the answer behind it counts."""
    async with at.listening() as container:
        job = at.call(container, "echo", "read")
        connection = await container.greeted()
        request = await connection.request()
        for frames in (
            [b""], [b"x"], [LINK], [b"", pack([Kind.PING, 1])], [b"short", pack([Kind.PING, 1])],
            [LINK, b"\xc1"], [LINK, b""], [LINK, b"\xdd\xff\xff\xff\xff"], [LINK, pack(5)], [LINK, pack([])],
            [LINK, pack(["PING", 1])], [LINK, pack({1: 2})], [LINK, pack([Kind.PING, "x"])], [LINK, pack([Kind.PING])],
            [LINK, pack([Kind.PONG, -1, "x", None])], [LINK, pack([Kind.PONG])], [LINK, pack([Kind.GOODBYE, "x"])],
            [LINK, pack([Kind.WELCOME])], [LINK, pack([Kind.HELLO, 1])], [LINK, pack([Kind.RESPONSE, 1, 2])],
            [secrets.token_bytes(16), b"\xc1"], [secrets.token_bytes(16), pack([Kind.RESPONSE, 1])],
            [secrets.token_bytes(16), pack([Kind.RESPONSE, 1, msgpack.ExtType(77, b"")])],
            [request.tag, pack([Kind.STARTED, 5])],
        ):  # fmt: skip
            connection.send(list(frames))
        connection.respond(request, "read")
        await job.gives("read")
        await still_calls(at, container, connection)


@checks.add(2, "13")
async def a_malformed_answer_is_unknown(at: EngineUnderTest) -> None:
    """The request of a malformed answer ends as UNKNOWN, at its deadline at the latest, and never with a value."""
    async with at.listening() as container:
        jobs = []
        records: list[Any] = [
            [Kind.RESPONSE], [Kind.RESPONSE, 1], [Kind.RESPONSE, "x", 1], [Kind.RESPONSE, 7, 1], [Kind.ERROR, 3],
            [Kind.ERROR, 3, 0, 1], [Kind.ERROR, "x", 0, 1, "x", None], [Kind.ERROR, 3, 9, 1, "x", None],
            [Kind.ERROR, 3, "NO", 1, "x", None], [Kind.RESPONSE, 1, msgpack.ExtType(77, b"")],
            [Kind.RESPONSE, 1, in_frame(0)],
        ]  # fmt: skip
        connection = None
        for record in records:
            jobs.append(at.call(container, "echo", 1, timeout=1.0))
            connection = connection or await container.greeted()
            request = await connection.request()
            connection.send([request.tag, pack(record)])
        for job, record in zip(jobs, records, strict=True):
            (told,) = await job.outcomes()
            expect(told.executed == "UNKNOWN", f"the answer {record!r} gave {told}")


@checks.add(2, "5")
async def a_malformed_welcome_is_refused(at: EngineUnderTest) -> None:
    """Behind a WELCOME with a wrong field come GOODBYE(MALFORMED), no request, and a new connection."""
    wrong = {"instance": "me", "window": 512, "limits": [1], "number": "one"}
    async with at.listening() as container:
        job = at.call(container, "echo", "welcome")
        for name, value in wrong.items():
            connection = await container.connection()
            await connection.hello()
            connection.say(connection.welcome(**{name: value}))
            heard = await connection.hear(Kind.GOODBYE, *_NEW)
            right = heard.kind == Kind.GOODBYE and heard.record[1] == Goodbye.MALFORMED
            expect(right, f"behind a WELCOME whose {name} is {value!r} came {shown(heard, NAMES)}")
            expect(name in heard.record[2], f"its text does not name the field {name}: {shown(heard, NAMES)}")
            await container.cut()
        await answer_all(await container.greeted(), 1)
        await job.gives("welcome")


@checks.add(3, "8")
async def pings_are_answered(at: EngineUnderTest) -> None:
    """A PING gets a PONG of its number, whatever that is, with requests under way and without."""
    async with at.listening() as container:
        job = at.call(container, "echo", "ping")
        connection = await container.greeted()
        request = await connection.request()
        for number in (1, 127, 65_536, 2**32 - 1, 5):
            connection.say([Kind.PING, number])
            heard = await connection.hear(Kind.PONG)
            expect(heard.record[1:4] == [number, 0, 0], f"PING {number} got {shown(heard, NAMES)}")
        connection.respond(request, "ping")
        await job.gives("ping")
        connection.say([Kind.PING, 6])
        await connection.hear(Kind.PONG)


@checks.add(4, "5")
async def hello_comes_first(at: EngineUnderTest) -> None:
    """A connection begins with HELLO: version 2, a session, the number 1; no routing id is set, and nothing else leaves
    before WELCOME."""
    async with at.listening() as container:
        job = at.call(container, "echo", "hello")
        connection = await container.connection()
        hello = await connection.hello()
        expect(VERSION in hello[1], f"it speaks versions {hello[1]}")
        expect(hello[3] == 1, f"the number of the first HELLO is {hello[3]}")
        expect(isinstance(hello[2], UUID) and hello[2].int != 0, f"its session is {hello[2]}")
        expect(not container.chosen_routes(), f"it has set its routing id: {container.chosen_routes()}")
        await connection.silent(A_WHILE)
        connection.say(connection.welcome())
        await answer_all(connection, 1)
        await job.gives("hello")
        await connection.silent(0.1, Kind.HELLO)


@checks.add(4, "5")
async def only_its_own_welcome_counts(at: EngineUnderTest) -> None:
    """A WELCOME with another number is ignored, and so is a second one."""
    async with at.listening() as container:
        job = at.call(container, "echo", "own")
        connection = await container.connection()
        await connection.hello()
        connection.say(connection.welcome(number=connection.greeting[3] + 1))
        await connection.silent(A_WHILE, *_NEW)
        connection.say(connection.welcome())
        request = await connection.request()
        connection.say(connection.welcome())
        connection.respond(request, "own")
        await job.gives("own")
        await still_calls(at, container, connection)


@checks.add(4, "5")
async def another_version_is_no_welcome(at: EngineUnderTest) -> None:
    """Behind a WELCOME of a version that it has not offered nothing leaves, and what waits has not run."""
    async with at.listening() as container:
        job = at.call(container, "echo", "version", timeout=1.5)
        connection = await container.connection()
        await connection.hello()
        connection.say(connection.welcome(version=99))
        await connection.silent(A_WHILE, *_NEW)
        await job.fails("NO")


@checks.add(4, "5")
async def goodbye_is_no_welcome(at: EngineUnderTest) -> None:
    """Behind GOODBYE in place of WELCOME nothing leaves; what waits goes with the next connection, or has not run."""
    async with at.listening() as container:
        job = at.call(container, "echo", "turned away")
        connection = await container.connection()
        await connection.hello()
        connection.goodbye(Goodbye.TOO_MANY_SESSIONS)
        await connection.silent(A_WHILE, *_NEW)
        await container.cut()
        await answer_all(await container.greeted(), 1)
        await job.gives("turned away")


@checks.add(4, "5")
async def each_connection_is_greeted_anew(at: EngineUnderTest) -> None:
    """The next connection begins with HELLO, too: of another session, number 1, or of the same, with a higher one."""
    async with at.listening() as container:
        job = at.call(container, "echo", "first")
        first = await container.greeted()
        await answer_all(first, 1)
        await job.gives("first")
        await container.cut()
        second = await container.connection()
        await second.hello()
        job = at.call(container, "echo", "second")
        came = f"behind HELLO of {first.session}, number 1, came {second.session}, number {second.greeting[3]}"
        higher = second.greeting[3] > first.greeting[3]
        expect(higher if first.session == second.session else second.greeting[3] == 1, came)
        await second.silent(0.3)
        second.say(second.welcome())
        await answer_all(second, 1)
        await job.gives("second")


@checks.add(5, "6")
async def requests_have_their_fields(at: EngineUnderTest) -> None:
    """REQUEST has a tag of its own, a rising number, the milliseconds that are left, the op CALL and the name."""
    async with at.listening() as container:
        jobs = [at.call(container, "echo", number, timeout=20.0) for number in range(50)]
        connection = await container.greeted()
        requests = [await connection.request() for _ in range(50)]
        numbers = [one.record[1] for one in requests]
        rising = all(low < high for low, high in itertools.pairwise(numbers))
        expect(rising and numbers[0] >= 1, f"their numbers: {numbers}")
        tags = {one.tag for one in requests}
        expect(len(tags) == 50, "two requests have the same tag")
        for request in requests:
            _, _, remaining, flags, op, function, *_ = request.record
            expect(remaining is not None and 10_000 < remaining <= 20_001, f"of 20 s are left {remaining} ms")
            expect((flags & 3, op, function) == (0, Op.CALL, "echo"), f"it asks by {shown(request, NAMES)}")
            connection.respond(request, request.record[6][0])
        for number, job in enumerate(jobs):
            await job.gives(number)
    expect(len({tag[:12] for tag in tags} | {tag[4:] for tag in tags}) > 1, "the tags are not random")


@checks.add(5, "6")
async def the_first_answer_counts(at: EngineUnderTest) -> None:
    """The first RESPONSE or ERROR ends a request; what comes under its tag later, or under unknown tags, is dropped."""
    async with at.listening() as container:
        jobs = [at.call(container, "echo", number) for number in range(3)]
        connection = await container.greeted()
        first, second, third = [await connection.request() for _ in range(3)]
        connection.respond(third, "third")
        connection.respond(first, "first")
        connection.respond(first, "again")
        connection.refuse(first, Code.REMOTE, YES)
        connection.refuse(second, Code.REMOTE, YES)
        connection.respond(second, "again")
        connection.say([Kind.RESPONSE, 1, "nobody's"], secrets.token_bytes(16))
        by_number = {request.record[6][0]: request for request in (first, second, third)}
        due = {first.tag: "first", third.tag: "third"}
        for number, job in enumerate(jobs):
            tag = by_number[number].tag
            await (job.gives(due[tag]) if tag in due else job.fails("YES"))
        await still_calls(at, container, connection)


@checks.add(5, "6")
async def a_deadline_ends_it(at: EngineUnderTest) -> None:
    """At its deadline a request is UNKNOWN, or YES behind STARTED, and CANCEL goes out; a late answer is dropped."""
    async with at.listening() as container:
        silent = at.call(container, "silent", 1, timeout=0.5)
        started = at.call(container, "started", 1, timeout=0.5)
        connection = await container.greeted()
        requests = {}
        for _ in range(2):
            request = await connection.request()
            requests[request.record[5]] = request
        connection.say([Kind.STARTED], requests["started"].tag)
        await silent.fails("UNKNOWN")
        await started.fails("YES")
        for request in requests.values():
            await connection.hear(Kind.CANCEL, tag=request.tag)
            connection.respond(request, "late")
        await still_calls(at, container, connection)


@checks.add(5, "6")
async def a_deadline_before_it_leaves(at: EngineUnderTest) -> None:
    """What reaches its deadline before WELCOME has not run, and never leaves."""
    async with at.listening() as container:
        job = at.call(container, "never", 1, timeout=0.4)
        connection = await container.connection()
        await connection.hello()
        await job.fails("NO")
        connection.say(connection.welcome())
        await connection.silent(A_WHILE, *_NEW, Kind.CANCEL)
        await still_calls(at, container, connection)


@checks.add(8, "3")
async def errors_say_what_has_run(at: EngineUnderTest) -> None:
    """What ERROR says of its running, the caller is told, whatever its code: NO, UNKNOWN or YES."""
    cases = [
        (Code.UNSUPPORTED, NO), (Code.INVALID_ARGUMENTS, NO), (Code.REFUSED, NO), (Code.OVERLOADED, NO),
        (Code.EXPIRED, NO), (Code.EXPIRED, YES), (Code.REMOTE, YES), (Code.CANCELLED, YES), (Code.STALE, UNKNOWN),
        (1000, NO), (1000, UNKNOWN), (1000, YES),
    ]  # fmt: skip
    async with at.listening() as container:
        connection = None
        for code, executed in cases:
            job = at.call(container, "fails", code)
            connection = connection or await container.greeted()
            connection.refuse(await connection.request(), code, executed)
            await job.fails(("NO", "UNKNOWN", "YES")[executed])
