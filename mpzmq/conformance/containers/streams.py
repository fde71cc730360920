"""Level 4 of containers: streams of results, and of data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from ...protocol.wire.kinds import Code, Kind, Op
from ..checks import Checks, NotJudged, expect
from ..frames import BATCH_BYTES, shown
from ..shapes import NAMES
from .calls import A_WHILE, serves

if TYPE_CHECKING:
    from ..container_under_test import ContainerUnderTest
    from ..frames import Heard
    from ..raw_engine import RawEngine

__all__ = ["checks"]

checks = Checks(level=4)

NO = 0
_ANSWERS = (Kind.RESPONSE, Kind.ERROR)
_PLENTY: dict[str, Any] = {"stream_items": 1000, "stream_bytes": 1 << 22}
_LARGE = 20_000
_SOME = 100
"""Items in one CHUNK of data."""


class _Results:
    """The items of one stream, as they come, in their order."""

    def __init__(self, engine: RawEngine, tag: bytes, received: int = 0) -> None:
        self.items: list[Any] = []
        self.is_over = False
        self.chunks: list[Heard] = []
        self._engine = engine
        self._tag = tag
        self._first = received

    async def chunk(self) -> None:
        """The next CHUNK, which has to follow the one before."""
        heard = await self._engine.hear(Kind.CHUNK, tag=self._tag)
        _, first, size, last, items = heard.record
        due = self._first + len(self.items)
        expect(first == due, f"where item {due} was due: {shown(heard, NAMES)}")
        expect(not self.is_over, f"behind the last CHUNK came {shown(heard, NAMES)}")
        expect(items or last, f"a CHUNK without items that is not the last: {shown(heard, NAMES)}")
        expect(len(items) < 2 or size <= BATCH_BYTES, f"a CHUNK of {size:,} bytes in {len(items)} items")
        self.items += items
        self.chunks.append(heard)
        self.is_over = last

    async def wait_for(self, count: int) -> None:
        """So many items, or the end."""
        while len(self.items) < count and not self.is_over:
            await self.chunk()

    async def end(self) -> None:
        """All that is left."""
        while not self.is_over:
            await self.chunk()

    def credit(self, received: int, items: int, size: int = 1 << 30) -> None:
        """Tells what has come and what may come, in all."""
        self._engine.say([Kind.CREDIT, received, items, size], self._tag)


def _size(item: object) -> int:
    return len(msgpack.packb(item))


@checks.add(32, "7")
async def results_come_and_end(at: ContainerUnderTest) -> None:
    """The items come in CHUNKs; behind the CREDIT that tells of the last one comes RESPONSE with their number."""
    async with at.greeted(**_PLENTY) as engine:
        for number in (5, 0, 200):
            tag = engine.request("count", number, op=Op.STREAM)
            results = _Results(engine, tag)
            await results.end()
            expect(results.items == list(range(number)), f"count({number}) gave {results.items!r:.120}")
            await engine.silent(A_WHILE if number == 5 else 0.05, *_ANSWERS, tag=tag)
            results.credit(number + 1, 10_000)
            answer = await engine.answered(tag)
            expect(answer == number, f"the RESPONSE to count({number}) has {answer!r}")
            await engine.silent(0.05, Kind.CHUNK, *_ANSWERS, tag=tag)


@checks.add(32, "7")
async def credit_in_items(at: ContainerUnderTest) -> None:
    """No more items come than HELLO and CREDIT allow in all."""
    async with at.greeted(stream_items=4, stream_bytes=1 << 20) as engine:
        tag = engine.request("count", 20, op=Op.STREAM)
        results = _Results(engine, tag)
        for allowed in (4, 5, 11):
            await results.wait_for(allowed)
            await engine.silent(A_WHILE, Kind.CHUNK, tag=tag)
            expect(len(results.items) == allowed, f"{len(results.items)} items came, {allowed} were allowed")
            results.credit(allowed, {4: 5, 5: 11, 11: 1000}[allowed])
        await results.end()
        expect(results.items == list(range(20)), f"count(20) gave {results.items!r:.120}")
        results.credit(21, 1000)
        await engine.answered(tag)


@checks.add(32, "7")
async def credit_in_bytes(at: ContainerUnderTest) -> None:
    """No more bytes come than HELLO and CREDIT allow in all, but for the last item."""
    async with at.greeted(stream_items=1000, stream_bytes=1000) as engine:
        tag = engine.request("count", 40, 300, op=Op.STREAM)
        results = _Results(engine, tag)
        for allowed in (1000, 3000):
            await results.wait_for(-(-allowed // _size(bytes(300))))
            await engine.silent(A_WHILE, Kind.CHUNK, tag=tag)
            before = sum(map(_size, results.items[:-1]))
            expect(before < allowed, f"{len(results.items)} items came, of {before:,} bytes without the last one")
            results.credit(len(results.items), 1000, 3000 if allowed == 1000 else 1 << 20)
        await results.end()
        results.credit(41, 1000)
        await engine.answered(tag)


@checks.add(32, "7")
async def nothing_without_credit(at: ContainerUnderTest) -> None:
    """An engine whose HELLO allows no items gets none before its first CREDIT."""
    async with at.greeted() as engine:
        tag = engine.request("count", 3, op=Op.STREAM)
        await engine.silent(A_WHILE, Kind.CHUNK, *_ANSWERS)
        results = _Results(engine, tag)
        results.credit(0, 10)
        await results.end()
        results.credit(4, 10)
        await engine.answered(tag)


@checks.add(28, "7")
async def chunks_tell_their_size(at: ContainerUnderTest) -> None:
    """size is the sum of the items' MessagePack and buffers; an item with buffers is alone in CHUNK and message."""
    async with at.greeted(batch_records=16, **_PLENTY) as engine:
        for size in (0, 5000, _LARGE):
            tag = engine.request("count", 30, size, op=Op.STREAM)
            results = _Results(engine, tag)
            await results.end()
            results.credit(31, 1000)
            await engine.answered(tag)
            for heard in results.chunks:
                _, _, told, _, items = heard.record
                if size < _LARGE:
                    due = sum(map(_size, items))
                    expect(told == due, f"a CHUNK of {len(items)} items tells {told} bytes, and has {due}")
                elif items:
                    alone = len(items) == 1 and heard.together == 1
                    expect(alone, f"{len(items)} items of {_LARGE} bytes came in one CHUNK of {heard.together}")
                    expect(_LARGE <= told <= _LARGE + 64, f"an item of {_LARGE} bytes has the size {told}")


@checks.add(32, "3")
async def a_stream_is_cancelled(at: ContainerUnderTest) -> None:
    """Behind CANCEL, and the PONG that tells that it was read, nothing comes of a stream, not even an answer."""
    async with at.greeted(stream_items=2, stream_bytes=1000) as engine:
        tag = engine.request("count", 1000, op=Op.STREAM)
        await _Results(engine, tag).wait_for(2)
        engine.say([Kind.CANCEL], tag)
        await engine.pinged()
        engine.say([Kind.CREDIT, 2, 1000, 1 << 20], tag)
        await engine.silent(A_WHILE, Kind.CHUNK, *_ANSWERS, tag=tag)
        await serves(engine)


@checks.add(32, "3")
async def a_stream_that_it_does_not_have(at: ContainerUnderTest) -> None:
    """A stream of a function that it does not have gets ERROR(UNSUPPORTED, NO), in each of the three operations."""
    async with at.greeted(**_PLENTY) as engine:
        for op in (Op.STREAM, Op.UPLOAD, Op.CHANNEL):
            await engine.refused(engine.request("no such function", op=op), Code.UNSUPPORTED, NO)


@checks.add(34, "7")
async def a_stream_goes_on(at: ContainerUnderTest) -> None:
    """On a new connection nothing of a stream leaves before a CREDIT, and then what is behind the items it tells."""
    async with at.greeted(stream_items=4, stream_bytes=1 << 20) as first:
        if not at.is_resuming:
            raise NotJudged("it knows no session again: level 1")
        tag = first.request("count", 10, op=Op.STREAM)
        await _Results(first, tag).wait_for(4)
        first.lose()
        async with at.greeted(2, session=first.session, stream_items=4, stream_bytes=1 << 20) as second:
            second.request("count", 10, op=Op.STREAM, sequence=first.sequence, tag=tag)
            await second.silent(A_WHILE, Kind.CHUNK, *_ANSWERS, tag=tag)
            results = _Results(second, tag, received=3)
            results.credit(3, 1000)
            await results.end()
            expect(results.items == list(range(3, 10)), f"behind item 3 came {results.items}")
            results.credit(11, 1000)
            expect(await second.answered(tag) == 10, "the RESPONSE has another number of items")


class _Data:
    """The items that are sent of one UPLOAD or CHANNEL, as CREDIT allows."""

    def __init__(self, engine: RawEngine, tag: bytes) -> None:
        self._engine = engine
        self._tag = tag
        self._sent = 0
        self.received = 0
        self._items = 0
        self._bytes = 0
        self._size = 0

    async def credit(self) -> None:
        """The next CREDIT, whose totals never fall."""
        heard = await self._engine.hear(Kind.CREDIT, tag=self._tag)
        _, received, items, size = heard.record
        rising = received >= self.received and items >= self._items and size >= self._bytes
        expect(rising, f"behind {[self.received, self._items, self._bytes]} came {shown(heard, NAMES)}")
        expect(received <= self._sent + 2, f"{self._sent} items were sent, and then came {shown(heard, NAMES)}")
        self.received, self._items, self._bytes = received, items, size

    async def send(self, items: list[int], *, last: bool) -> None:
        """Sends items in CHUNKs of as many as CREDIT allows, and the empty last one where that is asked for."""
        while items:
            while self._sent >= self._items or self._size >= self._bytes:
                await self.credit()
            some = items[: min(self._items - self._sent, _SOME)]
            size = sum(map(_size, some))
            self._engine.say([Kind.CHUNK, self._sent, size, False, some], self._tag)
            self._sent += len(some)
            self._size += size
            items = items[len(some) :]
        if last:
            self._engine.say([Kind.CHUNK, self._sent, 0, True, []], self._tag)


@checks.add(33, "7")
async def an_upload_is_read(at: ContainerUnderTest) -> None:
    """CREDIT says that an UPLOAD was taken, and follows what is read; behind the last CHUNK it tells one more."""
    async with at.greeted(**_PLENTY) as engine:
        numbers = list(range(3000))
        tag = engine.request("total", op=Op.UPLOAD)
        data = _Data(engine, tag)
        await data.credit()
        await data.send(numbers, last=True)
        answer = await engine.answered(tag)
        expect(answer == sum(numbers), f"total gave {answer!r}, not {sum(numbers)}")
        tag = engine.request("total", op=Op.UPLOAD)
        await _Data(engine, tag).send([], last=False)
        credit = _Data(engine, tag)
        await credit.credit()
        await credit.send([], last=True)
        expect(await engine.answered(tag) == 0, "total of nothing is not 0")


@checks.add(33, "7")
async def a_channel_goes_both_ways(at: ContainerUnderTest) -> None:
    """A CHANNEL takes data and gives results; CREDIT tells of the last CHUNK, and then that all data was handled."""
    async with at.greeted(**_PLENTY) as engine:
        tag = engine.request("doubled", op=Op.CHANNEL)
        data, results = _Data(engine, tag), _Results(engine, tag)
        for number in range(5):
            await data.send([number], last=False)
            await results.wait_for(number + 1)
        await data.send([], last=True)
        await results.end()
        expect(results.items == [0, 2, 4, 6, 8, 5], f"doubled gave {results.items}")
        while data.received < 7:
            await data.credit()
        results.credit(7, 1000)
        expect(await engine.answered(tag) == 6, "the RESPONSE has another number of items")
