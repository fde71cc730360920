"""Methods of generic classes: what a derived class says that a type parameter stands for is what counts."""

import functools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar

import pytest

from mpzmq import ComputerEngineWriter, ContainerServer, InvalidArguments, ResultMismatch, testing
from tests.typed.kinds import Point

T = TypeVar("T")
K = TypeVar("K", contravariant=True)


@dataclass
class Page(Generic[T]):
    items: list[T]


class Store(Protocol[K, T]):
    async def get(self, key: K) -> T: ...
    async def page(self, first: T | None = None) -> Page[T]: ...
    def walk(self, start: T) -> AsyncIterator[T]: ...
    async def put(self, items: AsyncIterable[T] | Iterable[T]) -> list[Annotated[T, "the last ones"]]: ...


class ByNumber(Store[int, T], Protocol[T]):
    """One parameter is left open."""


class Points(ByNumber[Point], Protocol):
    async def size(self) -> int: ...


class Wrong(ByNumber[int], Protocol):
    """The same methods for what is not there."""


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


class Memory(Generic[K, T]):
    def get(self, key: K) -> T:
        number: Any = key  # a result is not converted
        found: T = number
        return found

    def page(self, first: T | None = None) -> Page[T]:
        return Page([] if first is None else [first])

    async def walk(self, start: T) -> AsyncIterator[T]:
        yield start

    async def put(self, items: AsyncIterator[T]) -> list[T]:
        return [item async for item in items]

    @decorated
    def both(self, first: T, rest: dict[str, T], *more: T) -> list[str]:
        return [type(value).__name__ for value in (first, *rest.values(), *more)]


class Other(Generic[T]):
    """The same parameter, which stands for something else here."""

    def other(self, value: T) -> str:
        return type(value).__name__


class Shelf(Memory[int, Point], Other[str]):
    def size(self) -> int:
        return 1

    def __call__(self, point: Point) -> str:
        return type(point).__name__


def served(memory: Any) -> ContainerServer:
    server = ContainerServer(typed=True)
    for name in ("get", "page", "walk", "put", "both"):
        server.function(getattr(memory, name))
    server.function(functools.partial(memory.get), name="partial")
    server.function(decorated(memory.get), name="decorated")
    return server


async def test_an_interface_gives_what_its_parameters_stand_for() -> None:
    server = served(Shelf())
    server.function(lambda: 1, name="size")
    async with testing.connected(server) as container:
        points = container.of(Points)
        assert await points.page(Point(1, 2)) == Page([Point(1, 2)])
        assert [point async for point in points.walk(Point(1, 2))] == [Point(1, 2)]
        assert await points.put([Point(1, 2)]) == [Point(1, 2)]
        with pytest.raises(ResultMismatch, match="Point"):
            await points.get(3)
        with pytest.raises(ResultMismatch, match=r"items\[0\]"):
            await container.of(Wrong).page(Point(1, 2))  # type: ignore[arg-type]  # on purpose


async def refused(container: ComputerEngineWriter, function: str, *args: Any) -> str:
    with pytest.raises(InvalidArguments) as caught:
        await container.call(function, *args)
    return str(caught.value).split(": ", 1)[1].split(";")[0]


@pytest.mark.parametrize("memory", [Shelf(), Memory[int, Point]()])
async def test_methods_of_an_object_are_given_what_the_parameters_of_its_class_stand_for(memory: Any) -> None:
    point = {"x": 1, "y": 2}
    async with testing.connected(served(memory)) as container:
        assert await container.call("both", point, {"a": point}, point) == ["Point"] * 3
        assert await refused(container, "both", point, {"a": 3}) == "rest['a']: expected Point, got int"
        for name in ("get", "partial", "decorated"):
            assert await container.call(name, 3) == 3
            assert await refused(container, name, "x") == "key: expected int, got str"
        assert await container.upload("put", [point]) == [point]
        schema = (await container.describe(schema=True)).schema
    assert schema is not None
    assert schema["functions"]["get"]["parameters"]["properties"]["key"] == {"type": "integer"}
    assert schema["functions"]["put"]["items"]["$ref"] == "#/$defs/Point"


async def test_a_parameter_stands_for_what_it_is_where_the_method_was_written() -> None:
    shelf, server = Shelf(), ContainerServer(typed=True)
    server.function(shelf.other)
    server.function(shelf, name="called")
    server.function(Other().other, name="open")
    async with testing.connected(server) as container:
        assert await container.call("other", "text") == "str"
        assert await refused(container, "other", 3) == "value: expected str, got int"
        assert await container.call("called", {"x": 1, "y": 2}) == "Point"
        assert await container.call("open", {"x": 1}) == "dict"


async def test_an_interface_with_parameters_fits_the_object_that_says_the_same() -> None:
    server = ContainerServer(typed=True)
    server.functions(Shelf(), interface=Points)
    async with testing.connected(server) as container:
        await container.check(Points)
    with pytest.raises(TypeError, match="page"):
        ContainerServer(typed=True).functions(Shelf(), interface=Wrong)


def test_a_parameter_that_cannot_be_carried_is_told() -> None:
    class Complex(Other[complex]): ...

    with pytest.raises(TypeError, match="complex"):
        ContainerServer(typed=True).function(Complex().other)
