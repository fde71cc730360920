"""Level 1 of containers: messages, greetings, and requests. Flow and the end are judged in life.py."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgpack

from ...protocol.wire.kinds import Code, Goodbye, Kind, Op
from ...protocol.wire.records import VERSION
from ..checks import Checks, expect
from ..frames import LINK, in_frame, pack, shown
from ..shapes import NAMES

if TYPE_CHECKING:
    from ..container_under_test import ContainerUnderTest
    from ..raw_engine import RawEngine

__all__ = ["checks", "serves"]

checks = Checks(level=1)

NO, YES = 0, 2
A_WHILE = 0.4
"""Seconds in which what must not come does not come."""
LARGE = 20_000

_ANSWERS = (Kind.RESPONSE, Kind.ERROR)


async def serves(engine: RawEngine) -> None:
    """The container still answers on this connection."""
    word = secrets.token_hex(4)
    answer = await engine.call("echo", word)
    expect(answer == word, f"echo({word!r}) gave {answer!r}")


async def begun(engine: RawEngine, key: str) -> int:
    """How often ``later`` has begun with this value."""
    counts = await engine.call("seen", key)
    expect(isinstance(counts, list) and len(counts) == 2, f"seen({key!r}) gave {counts!r}, not [begun, ended]")
    return int(counts[0])


@checks.add(1, "2")
async def values_come_back(at: ContainerUnderTest) -> None:
    """echo gives nil, bools, ints, floats, text, arrays, maps and bytes back as they were."""
    async with at.greeted() as engine:
        values: list[Any] = [
            [None, True, False, 0, 127, 128, -32, -33, 65536, 2**53 - 1, -(2**53) + 1, 1.5, -0.25],
            ["", "text", "\u00fc\N{ROCKET}", "x" * 300, "y" * 70_000],
            {"a": [{"b": {"c": []}}], "": {}},
            [b"", b"\x00\xff", bytes(300)],
            list(range(1000)),
        ]
        for value in values:
            answer = await engine.call("echo", value)
            expect(answer == value, f"echo({value!r:.80}) gave {answer!r:.80}")


@checks.add(1, "4")
async def large_bytes_as_bin(at: ContainerUnderTest) -> None:
    """Bytes of any size that come as bin are read."""
    async with at.greeted() as engine:
        data = secrets.token_bytes(LARGE)
        answer = await engine.call("echo", data)
        expect(answer == data, f"echo of {LARGE:,} bytes as bin gave {answer!r:.80}")


@checks.add(1, "4")
async def buffers_are_read(at: ContainerUnderTest) -> None:
    """Bytes that come as ext 1 are read, in each of its three forms, with several in one record."""
    data, more = secrets.token_bytes(LARGE), b"\x01\x02\x03"
    async with at.greeted() as engine:
        for form in ((), ("v", "B", [LARGE]), ("a", "|u1", [LARGE])):
            answer = await engine.answered(engine.request("echo", in_frame(0, *form), buffers=[data]))
            expect(answer == data, f"echo of ext 1 in the form {list(form) or 'index'} gave {answer!r:.80}")
        tag = engine.request("echo", [in_frame(0), in_frame(1, "v", "B", [3])], buffers=[data, more])
        answer = await engine.answered(tag)
        expect(answer == [data, more], f"echo of two buffers gave {answer!r:.80}")


@checks.add(1, "4")
async def uuids_are_read(at: ContainerUnderTest) -> None:
    """A UUID, ext 2, is read; echo gives it back, or its 16 bytes."""
    async with at.greeted() as engine:
        value = uuid4()
        answer = await engine.call("echo", value)
        expect(answer in (value, value.bytes, str(value)), f"echo of a UUID gave {answer!r:.80}")


@checks.add(1, "18")
async def every_form_of_integer_is_read(at: ContainerUnderTest) -> None:
    """Fields in longer forms of MessagePack than they need are read."""
    async with at.greeted() as engine:
        tag = secrets.token_bytes(16)
        long_kind, long_number, long_op = b"\xcd\x00\x03", b"\xcf" + (1).to_bytes(8, "big"), b"\xd1\x00\x03"
        record = [
            long_kind,
            long_number,
            pack(30_000),
            b"\xd0\x00",
            long_op,
            pack("echo"),
            pack(["x"]),
            pack(None, None),
        ]
        engine.send([tag, b"\xdc\x00\x09" + b"".join(record)])
        expect(await engine.answered(tag) == "x", "echo did not give 'x' back")


@checks.add(2, "14")
async def unknown_kinds_are_ignored(at: ContainerUnderTest) -> None:
    """Records of unknown kinds get no answer and end nothing, under either tag, behind HELLO and before it."""
    async with at.connected() as engine:
        for kind in (11, 13, 14, 15, 20, 31, 99, -1):
            engine.say([kind, "later", {"version": 3}])
        engine.say([99], secrets.token_bytes(16))
        await engine.silent(A_WHILE)
        await engine.greet()
        for kind in (11, 13, 14, 15, 20, 31, 99, -1, 2**40):
            engine.say([kind, "later", {"version": 3}])
            engine.say([kind], secrets.token_bytes(16))
        await serves(engine)
        await engine.silent(A_WHILE)


@checks.add(2, "14")
async def more_fields_are_ignored(at: ContainerUnderTest) -> None:
    """Fields behind those of the tables, unknown flags and unknown limits change nothing."""
    async with at.connected() as engine:
        engine.say([*engine.hello(unheard_of=7), "later", {"version": 3}])
        await engine.hear(Kind.WELCOME)
        tag = secrets.token_bytes(16)
        engine.say([*engine.asked("echo", "more", flags=1 << 6), "later", None], tag)
        expect(await engine.answered(tag) == "more", "a REQUEST with more fields was not answered with its value")
        engine.say([Kind.PING, 7, "later"])
        heard = await engine.hear(Kind.PONG)
        expect(heard.record[1] == 7, f"PING with a field more got {shown(heard, NAMES)}")
        tag = engine.request("later", "more fields", 0.5)
        engine.say([Kind.CANCEL, "later"], tag)
        engine.say([Kind.RECEIVED, 1, b"", "later"])
        await engine.silent(1.0, *_ANSWERS, tag=tag)
        await serves(engine)


@checks.add(2, "13")
async def malformed_requests_are_told(at: ContainerUnderTest) -> None:
    """A REQUEST with too few fields, or with one of another type, gets ERROR(MALFORMED, NO), and does not run."""
    sound: list[Any] = [Kind.REQUEST, 1, 30_000, 0, Op.CALL, "later", ["malformed", 0], None, None]
    wrong: dict[int, list[Any]] = {
        1: ["one", None], 2: ["soon", 1.5], 3: ["none", None], 4: ["CALL", None], 5: [None, 5], 6: [None, "x", {}],
        7: [["x"], 5], 8: ["x", [1]],
    }  # fmt: skip
    async with at.greeted() as engine:
        cases = [sound[:length] for length in range(1, len(sound))]
        cases += [[*sound[:at], value, *sound[at + 1 :]] for at, values in wrong.items() for value in values]
        cases += [[Kind.REQUEST, 1, 30_000, 0, Op.INVOKE, None, args, None, None] for args in ([], [1, 2])]
        for record in cases:
            tag = secrets.token_bytes(16)
            engine.say(record, tag)
            heard = await engine.hear(*_ANSWERS, tag=tag)
            expect(
                heard.kind == Kind.ERROR and heard.record[1:3] == [Code.MALFORMED, NO],
                f"{record!r} got {shown(heard, NAMES)}",
            )
        expect(await begun(engine, "malformed") == 0, "a malformed REQUEST has run")


@checks.add(2, "13")
async def the_unreadable_is_ignored(at: ContainerUnderTest) -> None:
    """What cannot be read ends nothing; under the tag of a request it may get ERROR(MALFORMED, NO)."""
    async with at.greeted() as engine:
        tags = [secrets.token_bytes(16) for _ in range(5)]
        for frames in (
            [b""], [b"x"], [LINK], [b"", pack([Kind.PING, 1])], [b"short", pack([Kind.PING, 1])],
            [LINK, b"\xc1"], [LINK, b""], [LINK, b"\xdd\xff\xff\xff\xff"], [LINK, pack(5)], [LINK, pack([])],
            [LINK, pack(["PING", 1])], [LINK, pack([None])], [LINK, pack({1: 2})], [LINK, pack([Kind.PING, "x"])],
            [LINK, pack([Kind.PONG])], [LINK, pack([Kind.RECEIVED, -1, "x"])], [LINK, pack([Kind.GOODBYE, "x"])],
            [LINK, pack([Kind.PING, 1]) + b"\xc1"],
            [tags[0], b"\xc1"], [tags[1], pack([])], [tags[2], pack("x")], [tags[3], pack([Kind.RESPONSE])],
            [tags[4], pack([Kind.REQUEST, 1, None, 0, 3, "echo", [msgpack.ExtType(77, b"")], None, None])],
        ):  # fmt: skip
            engine.send(list(frames))
        await serves(engine)
        for heard in engine.told(*_ANSWERS):
            if heard.tag in tags:
                expect(
                    heard.kind == Kind.ERROR and heard.record[1:3] == [Code.MALFORMED, NO], shown(heard, NAMES),
                )  # fmt: skip


@checks.add(2, "5")
async def a_malformed_hello_is_told(at: ContainerUnderTest) -> None:
    """A HELLO with a wrong field gets GOODBYE(MALFORMED), whose text names it; a good one behind it is welcome."""
    wrong = {"session": "me", "number": "one", "versions": 2, "name": 5, "interval": "soon", "limits": [1]}
    for place, name in enumerate(("versions", "session", "number", "name", "interval", "limits"), 1):
        async with at.connected() as engine:
            record = engine.hello()
            record[place] = wrong[name]
            engine.say(record)
            heard = await engine.hear(Kind.WELCOME, Kind.GOODBYE)
            came = f"HELLO whose {name} is {wrong[name]!r} got {shown(heard, NAMES)}"
            expect(heard.kind == Kind.GOODBYE and heard.record[1] == Goodbye.MALFORMED, came)
            expect(name in heard.record[2], f"{came}: its text does not name the field")
            await engine.greet()
            await serves(engine)


@checks.add(3, "8")
async def pings_are_answered(at: ContainerUnderTest) -> None:
    """A PING gets a PONG of its number, whatever that is, also while requests run."""
    async with at.greeted() as engine:
        running = engine.request("later", "ping", 0.5)
        for number in (1, 127, 65_536, 2**32 - 1, 5):
            await engine.pinged(number)
        expect(await engine.answered(running) == "ping", "what ran meanwhile was answered with something else")


@checks.add(11, "5")
async def hello_is_welcome(at: ContainerUnderTest) -> None:
    """HELLO gets one WELCOME: version 2, its number, resumed false, and the same instance on each connection."""
    instances = set()
    for number in (1, 7):
        async with at.greeted(number) as engine:
            said = engine.welcomed
            expect(said["version"] == VERSION, f"WELCOME names version {said['version']}")
            expect(said["number"] == number, f"WELCOME of HELLO {number} has the number {said['number']}")
            expect(said["resumed"] is False, "WELCOME of a session that is new says resumed")
            expect(said["status"] == 1, f"WELCOME says status {said['status']}, though it serves")
            instances.add(said["instance"])
            await engine.silent(0.1)
    expect(len(instances) == 1, f"two connections were told two instances: {instances}")


@checks.add(11, "14")
async def versions_are_told_apart(at: ContainerUnderTest) -> None:
    """HELLO without version 2 gets GOODBYE(VERSION) and no session; one with others beside it gets WELCOME."""
    for versions in ([], [1], [1, 3, 99]):
        async with at.connected() as engine:
            record = engine.hello()
            record[1] = versions
            engine.say(record)
            heard = await engine.hear(Kind.WELCOME, Kind.GOODBYE)
            right = heard.kind == Kind.GOODBYE and heard.record[1] == Goodbye.VERSION
            expect(right, f"HELLO with versions {versions} got {shown(heard, NAMES)}")
            await engine.refused(engine.request("echo", 1), Code.NO_SESSION, NO)
    async with at.connected() as engine:
        record = engine.hello()
        record[1] = [1, 3, VERSION, 99]
        engine.say(record)
        heard = await engine.hear(Kind.WELCOME, Kind.GOODBYE)
        right = heard.kind == Kind.WELCOME and heard.record[1] == VERSION
        expect(right, f"HELLO with versions {record[1]} got {shown(heard, NAMES)}")


@checks.add(11, "5")
async def a_new_connection_ends_the_old_one(at: ContainerUnderTest) -> None:
    """Behind HELLO of a session on a new connection the older one gets no answer, and nothing of it runs."""
    async with at.greeted() as old:
        running = old.request("later", "superseded", 0.5)
        await old.pinged()
        async with at.greeted(2, session=old.session) as new:
            key = secrets.token_hex(4)
            late = old.request("later", key, 0)
            await old.silent(0.9, Kind.RESPONSE)
            expect(await begun(new, key) == 0, "a REQUEST of the older connection has run")
            if not new.welcomed["resumed"]:
                await new.silent(0.1, *_ANSWERS, tag=running)
            await new.silent(0.1, *_ANSWERS, tag=late)


@checks.add(12, "5")
async def nothing_runs_before_hello(at: ContainerUnderTest) -> None:
    """Before HELLO a REQUEST and a PING get ERROR(NO_SESSION, NO), other records nothing, and nothing has run."""
    key = secrets.token_hex(4)
    async with at.connected() as engine:
        await engine.refused(engine.request("later", key, 0), Code.NO_SESSION, NO)
        engine.say([Kind.PING, 1])
        await engine.refused(LINK, Code.NO_SESSION, NO)
        for record in ([Kind.PONG, 1, 0, 0], [Kind.RECEIVED, 1, b""]):
            engine.say(list(record))
        engine.say([Kind.CANCEL], secrets.token_bytes(16))
        await engine.silent(A_WHILE)
        await engine.greet()
        expect(await begun(engine, key) == 0, "a REQUEST before HELLO has run")
        await engine.silent(A_WHILE)


@checks.add(13, "6")
async def requests_are_answered(at: ContainerUnderTest) -> None:
    """CALL and INVOKE get one RESPONSE with the status and the value, without a deadline too, and nothing behind it."""
    async with at.greeted() as engine:
        tags = [engine.request("echo", "call"), engine.request(None, "invoke", op=Op.INVOKE)]
        tags.append(engine.request("echo", "no deadline", remaining=None))
        for tag, value in zip(tags, ("call", "invoke", "no deadline"), strict=True):
            heard = await engine.hear(*_ANSWERS, tag=tag)
            expect(heard.record[:3] == [Kind.RESPONSE, 1, value], f"for {value!r}: {shown(heard, NAMES)}")
        record = engine.asked("echo", "named")
        record[7], record[8] = {}, {"trace": "a1"}
        tag = secrets.token_bytes(16)
        engine.say(record, tag)
        expect(await engine.answered(tag) == "named", "with empty kwargs and metadata it was answered otherwise")
        await engine.silent(A_WHILE)


@checks.add(13, "6")
async def many_requests_at_once(at: ContainerUnderTest) -> None:
    """Each of 200 requests gets its own answer, and the quick ones do not wait for the slow ones."""
    async with at.greeted() as engine:
        slow = engine.request("later", "slow", 2.0)
        tags = {engine.request("echo", number): number for number in range(200)}
        for tag, number in tags.items():
            answer = await engine.answered(tag)
            expect(answer == number, f"echo({number}) was answered with {answer!r}")
        expect(not any(one.tag == slow for one in engine.told(*_ANSWERS)), "the slow one was answered first")
        expect(await engine.answered(slow) == "slow", "the slow one was answered with something else")
        counts = [sum(one.tag == tag for one in engine.told(*_ANSWERS)) for tag in tags]
        expect(set(counts) == {1}, f"a request was answered {max(counts)} times")


@checks.add(13, "6")
async def what_it_does_not_have(at: ContainerUnderTest) -> None:
    """A function and an op that it does not have get ERROR(UNSUPPORTED, NO)."""
    async with at.greeted() as engine:
        for name in ("no such function", "constructor", "__init__", "toString", ""):
            await engine.refused(engine.request(name), Code.UNSUPPORTED, NO)
        await engine.refused(engine.request(None, 1, op=77), Code.UNSUPPORTED, NO)
        await serves(engine)


@checks.add(13, "3")
async def what_a_function_raises(at: ContainerUnderTest) -> None:
    """fail gets ERROR(REMOTE, YES) with the text that it raised."""
    async with at.greeted() as engine:
        heard = await engine.refused(engine.request("fail", "so it is \u00fc"), Code.REMOTE, YES)
        expect("so it is \u00fc" in heard.record[4], f"its message is {heard.record[4]!r}")
        await serves(engine)


@checks.add(13, "6")
async def a_deadline_before_it_begins(at: ContainerUnderTest) -> None:
    """A REQUEST whose remaining is 0 or less gets ERROR(EXPIRED, NO), and does not run."""
    key = secrets.token_hex(4)
    async with at.greeted() as engine:
        for remaining in (0, -1, -(2**31)):
            await engine.refused(engine.request("later", key, 0, remaining=remaining), Code.EXPIRED, NO)
        expect(await begun(engine, key) == 0, "it has run")


@checks.add(13, "6")
async def a_deadline_behind_its_beginning(at: ContainerUnderTest) -> None:
    """What runs when its deadline comes gets ERROR(EXPIRED, YES) then, and no other answer later."""
    async with at.greeted() as engine:
        tag = engine.request("later", "late", 1.2, remaining=300)
        await engine.refused(tag, Code.EXPIRED, YES)
        await engine.silent(1.2, *_ANSWERS)
        await serves(engine)


@checks.add(13, "3")
async def started_is_told(at: ContainerUnderTest) -> None:
    """STARTED comes for what takes longer than a second, once, and in front of its answer."""
    async with at.greeted() as engine:
        tag = engine.request("later", "started", 1.3)
        heard = await engine.hear(Kind.STARTED, *_ANSWERS, tag=tag)
        expect(heard.kind == Kind.STARTED, f"where STARTED was due: {shown(heard, NAMES)}")
        expect(await engine.answered(tag) == "started", "it was answered with something else")
        expect(len(engine.told(Kind.STARTED)) == 1, f"STARTED came {len(engine.told(Kind.STARTED))} times")


@checks.add(13, "3")
async def cancel_is_obeyed(at: ContainerUnderTest) -> None:
    """Behind CANCEL comes no answer; a CANCEL of what is not there, or of another session's request, does nothing."""
    async with at.greeted() as engine, at.greeted() as other:
        tag = secrets.token_bytes(16)
        for one in (other, engine):
            one.request("later", "cancelled", 0.5, tag=tag)
            await one.pinged()
        other.say([Kind.CANCEL], secrets.token_bytes(16))
        engine.say([Kind.CANCEL], tag)
        await engine.silent(1.0, *_ANSWERS)
        await serves(engine)
        answer = await other.answered(tag)
        expect(answer == "cancelled", f"the request of another session under that tag was answered with {answer!r}")


@checks.add(13, "11")
async def goodbye_is_obeyed(at: ContainerUnderTest) -> None:
    """Behind an engine's GOODBYE(CLOSED) comes no answer, and its session is forgotten."""
    async with at.greeted() as engine:
        engine.request("later", "closed", 0.5)
        await engine.pinged()
        engine.say([Kind.GOODBYE, Goodbye.CLOSED, "the check is over"])
        await engine.silent(1.0, *_ANSWERS)
        async with at.greeted(2, session=engine.session) as again:
            expect(again.welcomed["resumed"] is False, "HELLO of a session that has ended got resumed true")
