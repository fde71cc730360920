"""Streams with sides that lie: typed errors, bounded memory, and others on the same container go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from mpzmq import ComputerEngineWriter, LinkState, ProtocolError
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.raw import Liar
from tests.support.scene import adds_up
from tests.support.waiting import scaled, soon, until

from .liar import LyingEngine, liars

if TYPE_CHECKING:
    from collections.abc import Callable

    from .target import Target

MEBIBYTE = 1 << 20
HUGE = (1 << 64) - 1


def streamed(op: int, function: str, *args: Any) -> list[Any]:
    """A REQUEST whose results or data go piece by piece."""
    return [Kind.REQUEST, 1, None, 0, op, function, list(args), None, None]


def chunk(first: int, items: list[Any], size: int | None = None, *, last: bool = False) -> list[Any]:
    return [Kind.CHUNK, first, len(items) if size is None else size, last, items]


async def gone(target: Target, *all_liars: LyingEngine) -> None:
    """They say GOODBYE, and what was at work for them ends; the next test finds nothing."""
    for liar in all_liars:
        await liar.say(LINK_TAG, [Kind.GOODBYE, Goodbye.CLOSED, "bye"])
    async with asyncio.timeout(scaled(20)):
        while (await target.facts())["streams"] > target.before["streams"]:
            pass
    await target.unharmed(grown=16)


async def granted(liar: LyingEngine, tag: bytes) -> list[Any]:
    """The CREDIT that comes when an upload may begin."""
    record = await liar.answer_to(tag)
    assert record[0] == Kind.CREDIT
    return record


# An engine that lies

UNASKED: dict[str, tuple[bytes, list[Any]]] = {
    "a chunk of nothing": (uuid4().bytes, chunk(0, [1])),
    "a credit of nothing": (uuid4().bytes, [Kind.CREDIT, HUGE, HUGE, HUGE]),
    "a chunk of the link": (LINK_TAG, chunk(0, [1])),
    "a credit of the link": (LINK_TAG, [Kind.CREDIT, 0, HUGE, HUGE]),
}


@pytest.mark.parametrize("what", UNASKED)
@pytest.mark.parametrize("greeted", [False, True])
async def test_what_is_on_no_stream_is_passed_over(target: Target, what: str, greeted: bool) -> None:
    with liars(target) as make:
        liar = make()
        if greeted:
            await liar.greet()
        async with target.watched():
            for _ in range(100):
                await liar.say(*UNASKED[what])
            await liar.until_read_by_tag()
        if greeted:
            tag = uuid4().bytes
            await liar.say(tag, streamed(Op.STREAM, "climb", 1))
            assert (await liar.answer_to(tag))[0] == Kind.CHUNK
            await gone(target, liar)


LIES: dict[str, Callable[[list[Any]], list[list[Any]]]] = {
    "a gap": lambda credit: [chunk(5, [1])],
    "more items than allowed": lambda credit: [chunk(0, [None] * (credit[2] + 1))],
    "more bytes than allowed": lambda credit: [chunk(0, [1], credit[3]), chunk(1, [2])],
    "larger than it says": lambda credit: [chunk(0, [bytes(5000)], 0)],
    "behind the end": lambda credit: [chunk(0, [1], last=True), chunk(1, [2])],
}


@pytest.mark.parametrize("lie", LIES)
async def test_data_that_may_not_come_costs_the_connection(target: Target, lie: str) -> None:
    with liars(target) as make:
        liar, other = make(), make()
        await liar.greet()
        await other.greet()
        tag = uuid4().bytes
        await liar.say(tag, streamed(Op.UPLOAD, "hold_all"))
        credit = await granted(liar, tag)
        upload = uuid4().bytes
        await other.say(upload, streamed(Op.UPLOAD, "add_up"))
        await granted(other, upload)
        async with target.watched():
            for record in LIES[lie](credit):
                await liar.say(tag, record)
            await other.say(upload, chunk(0, [1, 2]))
            # The same engine may come again.
            again = make()
            assert (await again.greet(liar.session, 2))[4] is True, "the session is still there"
            await other.say(upload, chunk(2, [3], last=True))
            while (answer := await other.answer_to(upload))[0] != Kind.RESPONSE:
                pass
            assert answer[2] == 6
        await gone(target, again, other)


async def test_many_chunks_of_one_message_do_not_hide_their_size(target: Target) -> None:
    with liars(target) as make:
        liar = make()
        await liar.greet()
        tags = [uuid4().bytes for _ in range(20)]
        for tag in tags:
            await liar.say(tag, streamed(Op.UPLOAD, "hold_all"))
            await granted(liar, tag)
        async with target.watched():
            await liar.say(b"".join(tags), *(chunk(0, [bytes(3000)], 0) for _ in tags))
            assert (await liar.pinged())[:2] == [Kind.ERROR, Code.NO_SESSION], "the connection was not cut"
        again = make()
        await again.greet(liar.session, 2)
        await gone(target, again)


@pytest.mark.parametrize("number", [1, 100])
async def test_credit_without_end_and_nothing_read_is_bounded(target: Target, number: int) -> None:
    """It says that it takes everything, and never that it has anything: all that it was sent would have to be kept."""
    with liars(target) as make:
        liar = make()
        await liar.greet()
        for _ in range(number):
            tag = uuid4().bytes
            await liar.say(tag, streamed(Op.STREAM, "climb", 10**9, 1000))
            await liar.say(tag, [Kind.CREDIT, 0, HUGE, HUGE])
            await liar.say(tag, [Kind.CREDIT, 0, 0, 0])
        async with target.watched():
            for _ in range(300):
                liar.drop_replies()
                await asyncio.sleep(0.005)
        facts = await target.facts()
        assert facts["streams"] - target.before["streams"] == number
        assert facts["rss"] - target.before["rss"] < 16 * MEBIBYTE
        await gone(target, liar)


async def test_a_credit_that_claims_what_was_never_sent(target: Target) -> None:
    with liars(target) as make:
        liar = make()
        await liar.greet()
        tag = uuid4().bytes
        await liar.say(tag, streamed(Op.STREAM, "climb", 10))
        await liar.say(tag, [Kind.CREDIT, HUGE, HUGE, HUGE])
        items: list[Any] = []
        while (record := await liar.answer_to(tag))[0] == Kind.CHUNK:
            items += record[4]
            if record[3]:
                await liar.say(tag, [Kind.CREDIT, HUGE, 0, 0])
        assert items == list(range(10)) and record[:1] == [Kind.RESPONSE] and record[2] == 10
        await gone(target, liar)


async def test_uploads_that_send_nothing_hold_no_more_than_their_share(target: Target) -> None:
    with liars(target) as make:
        liar = make()
        await liar.greet()
        for number in range(150):
            await liar.say(uuid4().bytes, streamed(Op.UPLOAD, "hold_all") if number % 2 else streamed(7, "echo_all"))
        async with target.watched():
            await liar.until_read()
            facts = await target.facts()
        assert facts["refused"] - target.before["refused"] >= 50 and facts["streams"] > target.before["streams"]
        await gone(target, liar)


# A container that lies

Lied = tuple[ComputerEngineWriter, Liar]


async def opened(lied: Lied) -> tuple[Any, asyncio.Task[Any], bytes]:
    """A stream whose REQUEST has come, and the task that reads its first item."""
    container, liar = lied
    stream = container.stream("any")
    reading = asyncio.create_task(anext(stream))
    return stream, reading, await liar.request()


@pytest.mark.parametrize(
    "records",
    [
        [chunk(5, [1])],
        [chunk(0, [None] * 1025)],
        [chunk(0, [bytes(5000)], 0)],
        [chunk(0, [1], 1 << 22), chunk(1, [2]), chunk(2, [3])],
        [[Kind.RESPONSE, 1, 5]],
    ],
    ids=["a gap", "too many", "larger than it says", "too large", "an end too early"],
)
async def test_results_that_may_not_come_end_the_stream(lied: Lied, records: list[list[Any]]) -> None:
    container, liar = lied
    stream, reading, tag = await opened(lied)
    # In one message: what is read between two of them makes room.
    liar.router.send(liar.route, tag * len(records), liar.router.pack(*records))
    with pytest.raises(ProtocolError):
        await soon(reading)
        await soon(anext(stream))
    call = asyncio.create_task(container.call("plain"))
    other = await liar.request()
    liar.say(other, [Kind.RESPONSE, 1, "fine"])
    assert await soon(call) == "fine"
    assert adds_up(container.statistics()) and not container.statistics().in_flight


async def test_words_on_no_stream_are_passed_over(lied: Lied) -> None:
    container, liar = lied
    call = asyncio.create_task(container.call("plain"))
    tag = await liar.request()
    for record in (chunk(0, [1]), [Kind.CREDIT, 0, HUGE, HUGE], [Kind.CREDIT, HUGE, 0, 0], chunk(7, [], last=True)):
        for to in (tag, LINK_TAG, uuid4().bytes):
            liar.say(to, record)
    liar.say(tag, [Kind.RESPONSE, 1, "fine"])
    assert await soon(call) == "fine" and container.state is LinkState.ALIVE


async def test_chunks_that_come_again_are_a_flood(lied: Lied) -> None:
    container, liar = lied
    stream, reading, tag = await opened(lied)
    liar.say(tag, chunk(0, [1]))
    assert await soon(reading) == 1
    for _ in range(1500):
        liar.say(tag, chunk(0, [1]))
    await until(lambda: container.last_error is not None)
    assert "floods" in str(container.last_error) and container.state is not LinkState.ALIVE
    await stream.aclose()


async def test_an_upload_to_a_container_that_takes_everything_and_reads_nothing(lied: Lied) -> None:
    """Credit without end: what leaves is kept by nobody here for longer than the limits allow."""
    container, liar = lied
    given = 0

    async def source() -> Any:
        nonlocal given
        while True:
            given += 1
            yield bytes(100_000)
            await asyncio.sleep(0)

    uploading = asyncio.create_task(container.upload("any", source(), idle_timeout=1.0))
    tag = await liar.request()
    liar.say(tag, [Kind.CREDIT, 0, HUGE, HUGE])
    liar.say(tag, [Kind.CREDIT, 0, 0, 0])
    with pytest.raises(TimeoutError):
        await soon(uploading)
    assert given * 100_000 < 70 * MEBIBYTE
    assert adds_up(container.statistics()) and not len(container._link.tracker.send_streams)


async def test_credit_that_claims_what_was_never_sent(lied: Lied) -> None:
    container, liar = lied
    uploading = asyncio.create_task(container.upload("any", [1, 2, 3]))
    tag = await liar.request()
    liar.say(tag, [Kind.CREDIT, HUGE, HUGE, HUGE])
    found: list[Any] = []
    while len(found) < 3:
        found += [item for _, record in liar.router.unpack(await liar.router.receive()) if record[0] == Kind.CHUNK
                  for item in record[4]]  # fmt: skip
    liar.say(tag, [Kind.CREDIT, HUGE, 0, 0])
    liar.say(tag, [Kind.RESPONSE, 1, "done"])
    assert await soon(uploading) == "done" and found == [1, 2, 3]
