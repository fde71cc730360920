"""Typed containers, over real sockets."""

import asyncio
import datetime
import functools
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pytest

from mpzmq import ContainerServer, RequestContext, RequestIdReused, testing
from tests.typed.kinds import Color, Item, Point

T = TypeVar("T")


@dataclass
class Page(Generic[T]):
    rows: list[T]


async def test_arguments_are_what_the_annotations_say() -> None:
    server, seen = ContainerServer(typed=True), list[Any]()

    @server.function
    def buy(
        item: Item,
        when: datetime.date,
        /,
        color: Color = Color.RED,
        *more: Point,
        page: Page[Point] | None = None,
        **extra: Decimal,
    ) -> Decimal:
        seen.append((item, when, color, more, page, extra))
        return item.price

    item = {"name": "a", "price": "2.50"}
    async with testing.connected(server) as container:
        assert await container.call("buy", item, "2026-01-02") == "2.50"
        await container.call("buy", item, "2026-01-02", "blue", {"x": 1, "y": 2}, tax="0.19", page={"rows": []})
    first = Item("a", Decimal("2.50")), datetime.date(2026, 1, 2)
    assert seen == [
        (*first, Color.RED, (), None, {}),
        (*first, Color.BLUE, (Point(1, 2),), Page([]), {"tax": Decimal("0.19")}),
    ]


async def test_threads_streams_uploads_channels_and_plain_requests_are_typed() -> None:
    server = ContainerServer(typed=True)

    @server.on_invoke
    async def move(data: Point) -> Point:
        return Point(data.x + 1, data.y)

    @server.function(thread=True)
    def in_thread(point: Point) -> tuple[Point, str]:
        return point, threading.current_thread().name

    @server.function
    async def walk(start: Point, steps: int) -> AsyncIterator[Point]:
        for step in range(steps):
            yield Point(start.x + step, start.y)

    @server.function
    async def distinct(points: AsyncIterator[Point]) -> set[Point]:
        return {point async for point in points}

    @server.function
    async def mirrored(points: AsyncIterator[Point]) -> AsyncIterator[Point]:
        async for point in points:
            yield Point(point.y, point.x)

    one, two = {"x": 1, "y": 2}, {"x": 2, "y": 2}
    async with testing.connected(server) as container:
        assert await container.request(one) == two
        assert (await container.call("in_thread", one))[0] == one
        assert [point async for point in container.stream("walk", one, 2)] == [one, two]
        assert await container.upload("distinct", [two, one, one]) == [one, two]
        async with container.channel("mirrored") as channel:
            await channel.send(one)
            assert await anext(channel) == {"x": 2, "y": 1}
            await channel.send_eof()


async def test_the_context_is_given_and_arrays_and_bytes_pass_untouched() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def total(values: npt.NDArray[np.float64], raw: bytes, context: RequestContext, *, times: int = 1) -> float:
        assert context.function == "total"
        return float(values.sum()) * len(raw) * times

    async with testing.connected(server) as container:
        assert await container.call("total", np.ones(4), b"ab") == 8.0
        assert await container.call("total", np.ones(4), raw=b"ab", times=2) == 16.0


async def test_decorated_functions_methods_and_partials_are_typed_as_what_is_behind_them() -> None:
    server = ContainerServer(typed=True)

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def around(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return around

    class Shop:
        def move(self, point: Point, by: int = 1) -> Point:
            assert isinstance(point, Point)
            return Point(point.x + by, point.y)

    server.function(Shop().move)
    server.function(logged(Shop().move), name="logged")
    server.function(functools.partial(Shop().move, by=3), name="by_three")
    async with testing.connected(server) as container:
        assert await container.call("move", {"x": 1, "y": 1}) == {"x": 2, "y": 1}
        assert await container.call("logged", {"x": 1, "y": 1}, by=2) == {"x": 3, "y": 1}
        assert await container.call("by_three", {"x": 1, "y": 1}) == {"x": 4, "y": 1}


async def test_a_request_with_an_id_of_its_own_is_the_same_request_when_it_comes_again() -> None:
    server, runs = ContainerServer(typed=True), list[Item]()
    begun, goes_on = asyncio.Event(), asyncio.Event()

    @server.function(cancellable=False)
    async def buy(item: Item) -> Decimal:
        runs.append(item)
        begun.set()
        await goes_on.wait()
        return item.price

    chosen, item = uuid.uuid4(), {"price": 2, "name": "a"}  # which is converted: it is not what came any more
    async with testing.connected(server) as container:
        first = asyncio.ensure_future(container.call("buy", item, request_id=chosen))
        await begun.wait()
        first.cancel()
        await asyncio.wait([first])
        with pytest.raises(RequestIdReused):
            await container.call("buy", item | {"price": 3}, request_id=chosen)
        again = asyncio.ensure_future(container.call("buy", item, request_id=chosen))
        await container.describe()
        goes_on.set()
        assert await again == "2"
    assert runs == [Item("a", Decimal(2))]


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (complex, "complex cannot be carried"),
        (Callable[[], int], "cannot be carried: 'Callable' is none of the types"),
        (dict[float, int], "the keys of a dict are"),
        (str | bytes, "more than one str-like type"),
        (list[threading.Lock], "cannot be carried"),
    ],
)
def test_what_cannot_be_carried_fails_when_the_function_is_registered(annotation: Any, why: str) -> None:
    server = ContainerServer(typed=True)

    def handler(x: Any) -> None:
        """Takes something."""

    for name in ("x", "return"):
        handler.__annotations__ = {name: annotation}
        with pytest.raises(TypeError, match=why) as caught:
            server.function(handler)
        assert "handler" in str(caught.value)
    handler.__annotations__ = {"x": int}
    server.function(handler)  # its name is not taken


async def test_an_untyped_container_passes_on_what_came() -> None:
    server = ContainerServer()

    @server.function
    def add(a: int, b: int) -> int:
        return a + b

    async with testing.connected(server) as container:
        assert await container.call("add", "x", "y") == "xy"


WITHOUT = """
import sys
sys.modules["msgspec"] = None
import asyncio, mpzmq, mpzmq.testing

for make in (mpzmq.ContainerServer, mpzmq.ComputerEngineWorker):
    try:
        make(typed=True)
    except ImportError as error:
        assert "mpzmq-engine[typed]" in str(error), error
    else:
        raise AssertionError(make)

server = mpzmq.ContainerServer()

@server.function
def add(a: int, b: int) -> int:
    return a + b

async def main() -> None:
    async with mpzmq.testing.connected(server) as container:
        assert await container.call("add", 1, 2) == 3
        try:
            container.of(object)
        except ImportError as error:
            assert "mpzmq-engine[typed]" in str(error), error
        else:
            raise AssertionError

asyncio.run(main())
"""


def test_without_the_extra_all_else_works_and_it_is_named() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, timeout=60)


def test_nothing_of_it_is_loaded_where_nothing_is_typed() -> None:
    code = (
        "import sys, mpzmq; mpzmq.ContainerServer(); mpzmq.ComputerEngineWorker(); assert 'msgspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
