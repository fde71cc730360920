"""Values that do not fit: each is refused by its path, and no handler runs."""

import datetime
import pathlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from mpzmq import ContainerServer, Executed, InvalidArguments, RemoteError, testing
from tests.typed.kinds import Circle, Color, Item, Job, Level, Model, Movie, Pair, Renamed, Rights, Square, Tree, Tuple2


@dataclass
class Even:
    number: int
    parts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("an odd number")
        if self.number > 100:
            raise RuntimeError("too much")


ITEM = {"name": "a", "price": "1.5"}
MODEL = {"name": "a", "when": "2026-01-01", "inner": {"count": 1}}

WRONG: list[tuple[Any, Any, str]] = [
    (int, "1", "x: expected int, got str"),
    (int, 1.0, "x: expected int, got float"),
    (int, True, "x: expected int, got bool"),
    (int, None, "x: expected int, got None"),
    (float, "1.0", "x: expected float, got str"),
    (bool, 1, "x: expected bool, got int"),
    (str, 1, "x: expected str, got int"),
    (str, b"a", "x: expected str, got bytes"),
    (str, UUID(int=1), "x: expected str, got UUID"),
    (bytes, "YQ==", "x: expected bytes, got str"),
    (bytes, [1, 2], "x: expected bytes, got list"),
    (type(None), 0, "x: expected None, got int"),
    (memoryview, "a", "x: expected bytes, got str"),
    (UUID, "not one", "x: expected UUID, got 'not one'"),
    (UUID, 1, "x: expected UUID, got int"),
    (Decimal, "1,5", "x: expected Decimal, got '1,5'"),
    (Decimal, None, "x: expected Decimal, got None"),
    (datetime.date, "2026-02-30", "x: expected date, got '2026-02-30'"),
    (datetime.date, 20260101, "x: expected date, got int"),
    (datetime.time, "25:00", "x: expected time, got '25:00'"),
    (datetime.datetime, "yesterday", "x: expected datetime, got 'yesterday'"),
    (datetime.timedelta, "5 s", "x: expected timedelta, got '5 s'"),
    (datetime.timedelta, 5, "x: expected timedelta, got int"),
    (pathlib.Path, 5, "x: expected Path, got int"),
    (list[int], "abc", "x: expected list, got str"),
    (list[int], [1, "2"], "x[1]: expected int, got str"),
    (list[list[int]], [[1], [2, None]], "x[1][1]: expected int, got None"),
    (tuple[int, str], [1], "x: expected list of length 2, got 1"),
    (tuple[int, str], ["a", "b"], "x[0]: expected int, got str"),
    (set[int], [1, "a"], "x[1]: expected int, got str"),
    (dict[str, int], [1], "x: expected dict, got list"),
    (dict[str, int], {"a": 1, "b": "c"}, "x['b']: expected int, got str"),
    (dict[str, int], {1: 1}, "x: its key 1: expected str, got int"),
    (dict[str, list[int]], {"a": [1], "b": [2, "c"]}, "x['b'][1]: expected int, got str"),
    (dict[Color, int], {"green": 1}, "x: its key 'green': expected Color ('red', 'blue'), got 'green'"),
    (Color, "green", "x: expected Color ('red', 'blue'), got 'green'"),
    (Color, 1, "x: expected str, got int"),
    (Level, 3, "x: expected Level (1, 2), got 3"),
    (Rights, 8, "x: expected Rights (1, 2), got 8"),
    (Literal["a", 2], "b", "x: expected one of 'a', 2, got 'b'"),
    (int | None, "a", "x: expected int | None, got str"),
    (int | str, 1.5, "x: expected int | str, got float"),
    (Annotated[int, msgspec.Meta(ge=1)], 0, "x: expected int >= 1"),
    (Annotated[str, msgspec.Meta(max_length=2)], "abc", "x: expected str of length <= 2"),
    (Annotated[str, msgspec.Meta(pattern="^[a-z]+$")], "A", "x: expected str matching regex '^[a-z]+$'"),
    (Annotated[list[int], msgspec.Meta(min_length=1)], [], "x: expected list of length >= 1"),
    (Item, "a", "x: expected Item, got str"),
    (Item, {"name": "a"}, "x.price: required, and missing"),
    (Item, {"name": 1, "price": "1"}, "x.name: expected str, got int"),
    (Item, ITEM | {"price": "much"}, "x.price: expected Decimal, got 'much'"),
    (Item, ITEM | {"colors": ["red", "pink"]}, "x.colors[1]: expected Color ('red', 'blue'), got 'pink'"),
    (Job, {"items": [ITEM, ITEM | {"price": None}], "by_name": {}}, "x.items[1].price: expected Decimal, got None"),
    (Job, {"items": [], "by_name": {"a": ITEM, "b": {}}}, "x.by_name['b'].name: required, and missing"),
    (Job, {"items": [], "by_name": {}, "due": "soon"}, "x.due: expected date, got 'soon'"),
    (list[Job], [{"items": [{}], "by_name": {}}], "x[0].items[0].name: required, and missing"),
    (Tree, {"value": 1, "children": [{"value": "2"}]}, "x.children[0].value: expected int, got str"),
    (Even, {"number": 3}, "x: an odd number"),
    (Even, {"number": 102}, "x: Even raised RuntimeError: too much"),
    (Renamed, {"first_name": "a", "last_name": "b"}, "x.firstName: required, and missing"),
    (Tuple2, [1, 2], "x[1]: expected str, got int"),
    (Circle | Square, {"type": "oval"}, "x.type: invalid value 'oval'"),
    (Movie, {"year": 2000}, "x.title: required, and missing"),
    (Movie, {"title": "a", "year": "2000"}, "x.year: expected int, got str"),
    (Pair, [1, 2], "x[1]: expected str, got int"),
    (Model, 1, "x: input should be a valid dictionary or instance of Model, got 1"),
    (Model, MODEL | {"inner": {"count": "many"}}, "x.inner.count: input should be a valid integer"),
    (list[Model], [MODEL, {}], "x[1].name: field required"),
    (npt.NDArray[np.float64], [1.0], "x: expected numpy.ndarray, got list"),
]  # fmt: skip


def test_there_are_sixty() -> None:
    assert len(WRONG) >= 60


def handler_of(annotation: Any, ran: list[Any]) -> Callable[..., None]:
    def handler(x: Any) -> None:
        ran.append(x)

    handler.__annotations__["x"] = annotation
    return handler


async def test_each_is_refused_by_its_path_and_no_handler_runs() -> None:
    server, ran = ContainerServer(typed=True), list[Any]()
    for number, (annotation, _, _) in enumerate(WRONG):
        server.function(handler_of(annotation, ran), name=f"f{number}")
    async with testing.connected(server) as container:
        for number, (_, value, said) in enumerate(WRONG):
            for args, kwargs in (([value], {}), ([], {"x": value})):
                with pytest.raises(InvalidArguments) as caught:
                    await container.call(f"f{number}", *args, **kwargs)
                assert f": {said}" in str(caught.value)
                assert caught.value.executed is Executed.NO
        statistics = server.statistics()
    assert ran == []
    assert statistics.refused == 2 * len(WRONG)


async def test_the_path_tells_the_parameter() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def submit(job: Job, *rest: int, limit: float = 1.0, **marks: Color) -> None:
        raise AssertionError("no handler runs")

    job: dict[str, Any] = {"items": [], "by_name": {}}
    async with testing.connected(server) as container:

        async def said(*args: Any, **kwargs: Any) -> str:
            with pytest.raises(InvalidArguments) as caught:
                await container.call("submit", *args, **kwargs)
            return str(caught.value)

        assert "job.items: expected list, got int" in await said({"items": 1, "by_name": {}})
        assert "rest[1]: expected int, got str" in await said(job, 1, "2")
        assert "limit: expected float, got str" in await said(job, limit="much")
        assert "mine: expected Color ('red', 'blue'), got 'pink'" in await said(job, mine="pink")
        assert "missing a required argument: 'job'" in await said(limit=1.0)
        assert "it is submit(job: " in await said(1)


async def test_an_item_that_does_not_fit_is_raised_in_the_iterator_and_others_follow() -> None:
    server, seen = ContainerServer(typed=True), list[Any]()

    @server.function
    async def take(items: AsyncIterator[Item]) -> list[str]:
        while True:
            try:
                seen.append(await anext(items))
            except ValueError as error:
                seen.append(str(error))
            except StopAsyncIteration:
                return [str(item) for item in seen]

    async with testing.connected(server) as container:
        await container.upload("take", [ITEM, {"name": 1, "price": 2}, ITEM])
    assert seen == [Item("a", Decimal("1.5")), "items[1].name: expected str, got int", Item("a", Decimal("1.5"))]


async def test_an_item_that_does_not_fit_and_is_not_caught_is_told_by_its_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = ContainerServer(typed=True)

    @server.function
    async def add(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @server.function
    async def double(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield 2 * number

    async with testing.connected(server) as container:
        with pytest.raises(RemoteError, match=r"numbers\[2\]: expected int, got str") as caught:
            await container.upload("add", [1, 2, "3"])
        assert (caught.value.code, caught.value.executed) == ("invalid_item", Executed.YES)
        with pytest.raises(RemoteError, match=r"numbers\[0\]: expected int, got str") as caught:
            async with container.channel("double") as channel:
                await channel.send("1")
                await channel.send_eof()
                async for _ in channel:
                    raise AssertionError("there is no result")
        assert (caught.value.code, caught.value.executed) == ("invalid_item", Executed.YES)
    caplog.clear()
