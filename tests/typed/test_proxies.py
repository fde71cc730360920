"""Interfaces: ``of()`` gives a container's functions as methods."""

import asyncio
import datetime
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import pytest

import mpzmq.blocking
from mpzmq import ComputerEngineWorker, ContainerServer, Executed, RequestContext, RequestError, ResultMismatch, testing
from tests.typed.kinds import Color, Item, Point


class Shop(Protocol):
    async def buy(self, item: Item, *, color: Color = Color.RED) -> Decimal: ...
    async def find(self, name: str) -> Item | None: ...
    async def close(self) -> None: ...
    def walk(self, start: Point, steps: int = 2) -> AsyncIterator[Point]: ...
    async def total(self, items: AsyncIterable[Item] | Iterable[Item], rate: float) -> Decimal: ...
    def mirrored(self, points: AsyncIterable[Point] | Iterable[Point]) -> AsyncIterator[Point]: ...


class Walks(Protocol):
    """Streams that may be left early, which a type checker lets one close."""

    def walk(self, start: Point, steps: int = 2) -> AsyncGenerator[Point, None]: ...
    def mirrored(self, points: AsyncIterable[Point] | Iterable[Point]) -> AsyncGenerator[Point, None]: ...


class BlockingWalks(Protocol):
    def walk(self, start: Point, steps: int = 2) -> Generator[Point, None, None]: ...


class BlockingShop(Protocol):
    def buy(self, item: Item, *, color: Color = Color.RED) -> Decimal: ...
    def walk(self, start: Point, steps: int = 2) -> Iterator[Point]: ...
    def total(self, items: Iterable[Item], rate: float) -> Decimal: ...


def shop(name: str | None = None) -> ContainerServer:
    server = ContainerServer(name=name, typed=True)

    @server.function
    def buy(item: Item, *, color: Color = Color.RED) -> Decimal:
        return item.price * len(color.value)

    @server.function
    def find(name: str) -> Item | None:
        return Item(name, Decimal("1.5")) if name == "pen" else None

    @server.function
    def close() -> None:
        """Does nothing."""

    @server.function
    async def walk(start: Point, steps: int = 2) -> AsyncIterator[Point]:
        for step in range(steps):
            yield Point(start.x + step, start.y)

    @server.function
    async def total(items: AsyncIterator[Item], rate: float) -> Decimal:
        return Decimal(rate) * sum([item.price async for item in items])

    @server.function
    async def mirrored(points: AsyncIterator[Point]) -> AsyncIterator[Point]:
        async for point in points:
            yield Point(point.y, point.x)

    return server


async def use(container: Shop) -> None:
    pen = Item("pen", Decimal("1.5"))
    assert await container.buy(pen) == Decimal("4.5")
    assert await container.buy(item=pen, color=Color.BLUE) == Decimal("6.0")
    assert await container.find("pen") == pen
    assert await container.find("ink") is None
    assert [point async for point in container.walk(Point(1, 2), steps=3)] == [Point(1, 2), Point(2, 2), Point(3, 2)]
    assert await container.total([pen, pen], 2.0) == 6
    assert await container.total(rate=2.0, items=iter([pen])) == 3

    async def points() -> AsyncIterator[Point]:
        for x in range(3):
            yield Point(x, 9)

    assert [point async for point in container.mirrored(points())] == [Point(9, x) for x in range(3)]
    assert [point async for point in container.mirrored([Point(1, 2)])] == [Point(2, 1)]


async def test_a_container_through_an_interface() -> None:
    async with testing.connected(shop()) as container:
        await use(container.of(Shop))
        await use(container.options(timeout=10.0).of(Shop))
        assert repr(container.of(Shop)) == "<Shop of mpzmq>"


async def test_a_group_through_an_interface() -> None:
    async with testing.connected(shop("a"), shop("b")) as group:
        await use(group.of(Shop))


async def test_a_service_through_an_interface() -> None:
    async with testing.connected(shop()) as container, ComputerEngineWorker(typed=True) as worker:
        handle = await worker.connect(container.address)
        await use(worker.service().options(handle.remote_id).of(Shop))


async def test_programs_without_an_event_loop() -> None:
    def talk(address: str) -> None:
        pen = Item("pen", Decimal("1.5"))
        with mpzmq.blocking.connect(address, typed=True) as container:
            for jobs in (container.of(BlockingShop), container.options(timeout=10.0).of(BlockingShop)):
                assert jobs.buy(pen, color=Color.BLUE) == Decimal("6.0")
                assert list(jobs.walk(Point(1, 2))) == [Point(1, 2), Point(2, 2)]
                assert jobs.total([pen, pen], 2.0) == 6
            with closing(container.of(BlockingWalks).walk(Point(0, 0), 10**9)) as points:
                assert next(points) == Point(0, 0)
            assert container.statistics().in_flight == 0
            with pytest.raises(TypeError, match="mirrored is a channel"):
                container.of(Shop)
        with mpzmq.blocking.group([address], typed=True) as group:
            assert group.of(BlockingShop).buy(pen) == Decimal("4.5")

    async with testing.connected(shop()) as container:
        await asyncio.to_thread(talk, container.address)


class Wrong(Protocol):
    async def find(self, name: str) -> Point: ...
    def walk(self, start: Point) -> AsyncIterator[Item]: ...
    async def buy(self, item: Item) -> int: ...


async def test_a_result_that_does_not_fit_is_told_by_its_path() -> None:
    async with testing.connected(shop("shop")) as container:
        wrong = container.of(Wrong)
        with pytest.raises(ResultMismatch, match=r"'find' has answered .*: result\.x: required, and missing") as caught:
            await wrong.find("pen")
        assert isinstance(caught.value, RequestError)
        assert caught.value.executed is Executed.YES
        assert (caught.value.name, caught.value.remote_id) == ("shop", container.remote_id)
        with pytest.raises(ResultMismatch, match=r"result: expected int, got str"):
            await wrong.buy(Item("a", Decimal(1)))
        stream = wrong.walk(Point(1, 2))
        with pytest.raises(ResultMismatch, match=r"item\[0\]\.name: required, and missing"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert container.statistics().in_flight == 0


async def test_leaving_a_stream_ends_its_function() -> None:
    async with testing.connected(shop()) as container:
        await container.check(Walks)
        jobs = container.of(Walks)
        async with aclosing(jobs.walk(Point(0, 0), 10**9)) as points:
            async for point in points:
                assert point == Point(0, 0)
                break
        assert container.statistics().in_flight == 0
        async with aclosing(jobs.mirrored(endless())) as answers:
            async for point in answers:
                assert point == Point(1, 0)
                break
        assert container.statistics().in_flight == 0


async def endless() -> AsyncIterator[Point]:
    while True:
        yield Point(0, 1)


async def failing() -> AsyncIterator[Point]:
    yield Point(0, 1)
    raise LookupError("no more points")


async def test_what_the_items_raise_ends_upload_and_channel() -> None:
    async with testing.connected(shop()) as container:
        jobs = container.of(Shop)
        with pytest.raises(LookupError, match="no more points"):
            async for _ in jobs.mirrored(failing()):
                pass
        with pytest.raises(LookupError, match="no more points"):
            await jobs.total(failing(), 1.0)  # type: ignore[arg-type]  # it does not come to that
        assert container.statistics().in_flight == 0


class Plain:
    def add(self, a: int) -> int: ...  # type: ignore[empty-body]


class Streams:
    async def walk(self) -> AsyncIterator[int]: ...  # type: ignore[empty-body]


class Yields:
    async def walk(self) -> AsyncIterator[int]:
        yield 1


class WithContext:
    async def add(self, a: int, context: RequestContext) -> int: ...  # type: ignore[empty-body]


class Uncarried:
    async def add(self, a: complex) -> int: ...  # type: ignore[empty-body]


class UncarriedResult:
    async def add(self) -> Callable[[], int]: ...  # type: ignore[empty-body]


class OnlyIterable:
    async def add(self, items: Iterable[int]) -> int: ...  # type: ignore[empty-body]


class TwoKindsOfItems:
    async def add(self, items: AsyncIterable[int] | Iterable[str]) -> int: ...  # type: ignore[empty-body]


class WithAttribute:
    size: int

    async def add(self, a: int) -> int: ...  # type: ignore[empty-body]


class WithProperty:
    @property
    def size(self) -> int:
        return 1


class Static:
    @staticmethod
    async def add() -> int: ...  # type: ignore[empty-body]


class NoSelf:
    async def add() -> int: ...  # type: ignore[empty-body,misc]


class Unresolved:
    async def add(self, a: "Nowhere") -> int: ...  # type: ignore[empty-body,name-defined]  # noqa: F821


class Empty:
    """Has none."""


@dataclass
class Nothing:
    """Is none."""

    when: datetime.date


@pytest.mark.parametrize(
    ("interface", "why"),
    [
        (Plain, r"Plain\.add is 'def' and returns int: a call is 'async def'"),
        (Streams, r"Streams\.walk gives a stream: that is 'def'"),
        (Yields, r"Yields\.walk yields"),
        (WithContext, r"WithContext\.add: the container gives 'context' itself"),
        (Uncarried, r"the parameter 'a' of Uncarried\.add: complex cannot be carried"),
        (UncarriedResult, r"what UncarriedResult\.add returns: .*cannot be carried"),
        (OnlyIterable, r"the parameter 'items' of OnlyIterable\.add: .*'Iterable' says too little: make it list"),
        (TwoKindsOfItems, r"the parameter 'items' of TwoKindsOfItems\.add: .*cannot be carried"),
        (WithAttribute, r"WithAttribute\.size is no method"),
        (WithProperty, r"WithProperty\.size is no method"),
        (Static, r"Static\.add is no method"),
        (NoSelf, r"NoSelf\.add takes no self"),
        (Unresolved, r"Unresolved\.add: an annotation cannot be resolved: name 'Nowhere'"),
        (Empty, "Empty has no methods"),
        (Nothing, r"Nothing\.when is no method"),
        (3, "an interface is a class with methods.* and not 3"),
        ("Shop", "an interface is a class with methods"),
    ],
)
async def test_what_is_no_interface_is_told_at_once(interface: Any, why: str) -> None:
    async with testing.connected(shop()) as container:
        with pytest.raises(TypeError, match=why):
            container.of(interface)
