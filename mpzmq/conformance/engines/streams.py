"""Level 4 of engines: streams of results, and of data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgpack

from ...protocol.wire.kinds import Kind, Op
from ..checks import Checks, expect
from ..frames import BATCH_BYTES, shown
from ..shapes import NAMES
from .resending import resumed

if TYPE_CHECKING:
    from ..engine_under_test import EngineUnderTest
    from ..frames import Heard
    from ..raw_container import RawConnection

__all__ = ["checks"]

checks = Checks(level=4)

A_WHILE = 0.4
_SOME = 100


def _size(items: list[Any]) -> int:
    return sum(len(msgpack.packb(item)) for item in items)


class _Results:
    """The items of a stream that the engine reads, sent as its credit allows."""

    def __init__(self, connection: RawConnection, request: Heard, sent: int = 0) -> None:
        self.connection = connection
        self.tag = request.tag
        self.sent = sent
        self.allowed = connection.limits["stream_items"]
        self.received = 0

    async def credit(self) -> None:
        """The next CREDIT, whose totals never fall."""
        heard = await self.connection.hear(Kind.CREDIT, tag=self.tag)
        _, received, items, _ = heard.record
        rising = received >= self.received and items >= self.allowed and received <= self.sent + 1
        expect(
            rising, f"of {self.sent} items {self.received} had come, {self.allowed} were allowed: {shown(heard, NAMES)}"
        )
        self.received, self.allowed = received, items

    async def send(self, items: list[Any], *, last: bool = False) -> None:
        """Sends items as CREDIT allows; the last CHUNK is an empty one."""
        while items:
            while self.sent >= self.allowed:
                await self.credit()
            some = items[: min(self.allowed - self.sent, _SOME)]
            self.connection.say([Kind.CHUNK, self.sent, _size(some), False, some], self.tag)
            self.sent += len(some)
            items = items[len(some) :]
        if last:
            self.connection.say([Kind.CHUNK, self.sent, 0, True, []], self.tag)

    async def end(self) -> None:
        """CREDIT tells that the last CHUNK has come; then RESPONSE may leave."""
        while self.received <= self.sent:
            await self.credit()
        self.connection.say([Kind.RESPONSE, 1, self.sent], self.tag)


@checks.add(29, "7")
async def credit_follows_what_is_read(at: EngineUnderTest) -> None:
    """CREDIT comes when half of what was allowed at first was taken, and behind the last CHUNK."""
    async with at.listening() as container:
        for factor in (0, 0.6, 2.5):
            job = at.stream(container, "count", factor)
            connection = container.connections[0] if container.connections else await container.greeted()
            request = await connection.request()
            expect(request.record[4:6] == [Op.STREAM, "count"], f"it asks by {shown(request, NAMES)}")
            results = _Results(connection, request)
            items = list(range(int(factor * results.allowed)))
            await results.send(items, last=not items)
            if items:
                while results.received < len(items) // 2:
                    await results.credit()
                await results.send([], last=True)
            await results.end()
            await job.gives(items)


@checks.add(31, "7")
async def a_stream_goes_on(at: EngineUnderTest) -> None:
    """Behind WELCOME with resumed true a STREAM leaves again, with a CREDIT that tells what has come of it."""
    instance = uuid4()
    async with at.listening() as container:
        job = at.stream(container, "count", 10)
        first = await container.greeted(instance=instance)
        request = await first.request()
        await _Results(first, request).send([0, 1, 2, 3])
        first.say([Kind.PING, 9])
        await first.hear(Kind.PONG)
        second = await resumed(container, first, instance)
        again = await second.request()
        expect(again.tag == request.tag, f"another request came: {shown(again, NAMES)}")
        results = _Results(second, again, sent=4)
        await results.credit()
        expect(results.received == 4, f"4 items had come, and CREDIT tells {results.received}")
        await results.send([4, 5, 6], last=True)
        await results.end()
        await job.gives(list(range(7)))


class _Data:
    """The items of an UPLOAD, as they come."""

    def __init__(self, connection: RawConnection, request: Heard) -> None:
        self.items: list[Any] = []
        self.is_over = False
        self._connection = connection
        self._tag = request.tag

    async def chunk(self) -> None:
        """The next CHUNK, which follows the one before."""
        heard = await self._connection.hear(Kind.CHUNK, tag=self._tag)
        _, first, size, last, items = heard.record
        expect(first == len(self.items), f"where item {len(self.items)} was due: {shown(heard, NAMES)}")
        expect(size == _size(items), f"a CHUNK of {_size(items)} bytes: {shown(heard, NAMES)}")
        expect(len(items) < 2 or size <= BATCH_BYTES, f"a CHUNK of {size:,} bytes in {len(items)} items")
        self.items += items
        self.is_over = last

    def credit(self, received: int, items: int, size: int = 1 << 20) -> None:
        """Tells what has come, and what may come in all."""
        self._connection.say([Kind.CREDIT, received, items, size], self._tag)


@checks.add(30, "7")
async def data_waits_for_credit(at: EngineUnderTest) -> None:
    """Data begins when CREDIT has come, stays within its totals, and ends with a CHUNK that says so."""
    async with at.listening() as container:
        job = at.upload(container, "total", list(range(20)))
        connection = await container.greeted()
        request = await connection.request()
        expect(request.record[4:6] == [Op.UPLOAD, "total"], f"it asks by {shown(request, NAMES)}")
        await connection.silent(A_WHILE, Kind.CHUNK)
        data = _Data(connection, request)
        for allowed, size in ((3, 5), (1000, 8)):
            data.credit(len(data.items), allowed, size)
            while len(data.items) < min(allowed, size):
                await data.chunk()
            await connection.silent(A_WHILE, Kind.CHUNK)
            most = min(allowed, size + 1)
            expect(len(data.items) <= most, f"{len(data.items)} items came, {most} were allowed")
        data.credit(len(data.items), 1000)
        while not data.is_over:
            await data.chunk()
        expect(data.items == list(range(20)), f"the items that came: {data.items}")
        data.credit(21, 1000)
        connection.respond(request, 190)
        await job.gives(190)


@checks.add(31, "7")
async def an_upload_ends_with_its_connection(at: EngineUnderTest) -> None:
    """An UPLOAD ends with its connection: it is not sent again, and the next connection brings its CANCEL."""
    instance = uuid4()
    async with at.listening() as container:
        job = at.upload(container, "total", list(range(20)))
        first = await container.greeted(instance=instance)
        request = await first.request()
        data = _Data(first, request)
        data.credit(0, 3)
        await data.chunk()
        second = await resumed(container, first, instance)
        await job.fails("UNKNOWN", "YES")
        await second.hear(Kind.CANCEL, tag=request.tag)
        await second.silent(A_WHILE, Kind.REQUEST, Kind.CHUNK)
