"""Typed workers: what they send, and their functions."""

import datetime
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pytest

from mpzmq import ComputerEngineWorker, ContainerServer, EncodeError, InvalidArguments, RequestContext, testing
from tests.typed.kinds import Color, Item, Point


@dataclass
class Batch:
    values: npt.NDArray[np.float64]
    color: Color
    when: datetime.date


async def test_values_of_its_own_types_may_be_sent_in_every_way() -> None:
    server = ContainerServer(typed=True)

    @server.on_invoke
    def plain(data: Batch) -> float:
        assert (data.color, data.when) == (Color.BLUE, datetime.date(2026, 1, 2))
        return float(data.values.sum())

    @server.function
    def total(batches: list[Batch], *, scale: Decimal) -> Decimal:
        return scale * sum(int(batch.values.sum()) for batch in batches)

    @server.function
    async def count(points: AsyncIterator[Point], seen: set[Point]) -> int:
        return len(seen | {point async for point in points})

    @server.function
    async def echo(points: AsyncIterator[Point]) -> AsyncIterator[Point]:
        async for point in points:
            yield point

    batch = Batch(np.ones(5000), Color.BLUE, datetime.date(2026, 1, 2))
    async with testing.connected(server) as container:
        assert await container.request(batch) == 5000.0
        assert await container.call("total", [batch, batch], scale=Decimal("0.5"), request_id=uuid4()) == "5000.0"
        assert await container.upload("count", [Point(1, 1), Point(2, 2)], {Point(2, 2), Point(3, 3)}) == 3
        async with container.channel("echo") as channel:
            await channel.send(Point(1, 2))
            assert await anext(channel) == {"x": 1, "y": 2}
            await channel.send_eof()


async def test_a_worker_that_is_not_typed_sends_none() -> None:
    async with testing.connected(ContainerServer()) as container:
        with pytest.raises(EncodeError, match=r"args\[0\]: Point"):
            await container.call("move", Point(1, 2))


async def test_its_functions_are_typed_too() -> None:
    server = ContainerServer(typed=True)

    @server.function
    async def ask(item: Item, context: RequestContext) -> list[Any]:
        answer = await context.call("price_of", item, color=Color.RED)
        with pytest.raises(InvalidArguments, match=r"item\.price: required, and missing"):
            await context.call("price_of", {"name": "pen"})
        return [answer]

    seen: list[Any] = []
    worker = ComputerEngineWorker(typed=True)

    @worker.function
    def price_of(item: Item, color: Color = Color.BLUE) -> Decimal:
        seen.append((item, color))
        return item.price

    async with server, worker:
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        item = Item("pen", Decimal("1.50"))
        assert await container.call("ask", item) == ["1.50"]
    assert seen == [(item, Color.RED)]


async def test_a_type_of_a_worker_that_is_not_there_fails_at_the_connect() -> None:
    worker = ComputerEngineWorker(typed=True)

    @worker.function
    def late(x: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        raise AssertionError

    async with ContainerServer() as server, worker:
        address = await server.bind("tcp://127.0.0.1:0")
        with pytest.raises(TypeError, match="name 'Nowhere' is not defined"):
            await worker.connect(address)
        assert worker.get_connected_containers() == []
