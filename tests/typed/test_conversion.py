"""What becomes of values before the handler starts, where the classes and the values are odd."""

import asyncio
import contextvars
import datetime
import decimal
import sys
from collections.abc import AsyncIterator, Container, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pydantic
import pytest

from mpzmq import ContainerServer, EncodeError, Executed, InvalidArguments, ResultMismatch, current_request, testing
from tests.typed.kinds import Color

UTC = datetime.UTC
mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")


@dataclass
class Marked:
    name: str

    def __post_init__(self) -> None:
        assert current_request() is None
        self.seen = mark.get(), decimal.getcontext().prec
        mark.set(self.name)
        decimal.getcontext().prec = 3


async def test_what_a_class_sets_while_it_is_made_is_seen_by_no_other_request() -> None:
    server, seen = ContainerServer(typed=True), list[Any]()
    decimal.getcontext().prec = 28

    @server.function
    def take(one: Marked) -> None:
        seen.append((one.seen, mark.get(), decimal.getcontext().prec))

    async with testing.connected(server) as container:
        await container.call("take", {"name": "a"})
        await container.call("take", one={"name": "b"})
    assert seen == [(("none", 28), "none", 28)] * 2


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


RAISED: list[tuple[BaseException, str]] = [
    (SystemExit(3), "one: Raising raised SystemExit: 3"),
    (StopIteration(), "one: Raising raised StopIteration: "),
    (asyncio.CancelledError(), "one: Raising raised CancelledError: "),
    (GeneratorExit(), "one: Raising raised GeneratorExit: "),
    (RecursionError("too deep"), "one: Raising raised RecursionError: too deep"),
    (UnprintableError(), "one: Raising raised UnprintableError: <UnprintableError, whose text cannot be had"),
    (ValueError("said at length" * 1000), "one: said at length"),
]


@dataclass
class Raising:
    index: int

    def __post_init__(self) -> None:
        raise RAISED[self.index][0]


async def test_whatever_a_class_raises_while_it_is_made_no_handler_runs() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def take(one: Raising) -> None:
        raise AssertionError("no handler runs")

    async with testing.connected(server) as container:
        for index, (_, said) in enumerate(RAISED):
            with pytest.raises(InvalidArguments) as caught:
                await container.call("take", {"index": index})
            assert f": {said}" in str(caught.value)
            assert caught.value.executed is Executed.NO


async def test_the_path_is_told_whatever_the_value_is_and_no_message_is_long() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def colors(many: list[Color]) -> None:
        raise AssertionError("no handler runs")

    @server.function
    def one_of(choice: Literal[tuple(f"v{n}" for n in range(100))]) -> None:  # type: ignore[valid-type]
        raise AssertionError("no handler runs")

    cases = [
        ("colors", ["red", "x" * 100_000], "many[1]: expected Color ('red', 'blue'), got 'xxx"),
        ("colors", ["a - at `$[7]`"], "many[0]: expected Color ('red', 'blue'), got 'a - at `$[7]`'"),
        ("one_of", "w" * 100_000, "choice: expected one of 'v0', 'v1', "),
        ("one_of", "w", "'v9', ..., got 'w'"),
    ]
    async with testing.connected(server) as container:
        for name, value, said in cases:
            with pytest.raises(InvalidArguments) as caught:
                await container.call(name, value)
            assert said in str(caught.value)
            assert len(str(caught.value)) < 1000


@dataclass
class Shift:
    days: list[dict[str, datetime.datetime]]


@dataclass(frozen=True)
class Dated:
    when: datetime.datetime


async def test_a_datetime_without_a_time_zone_does_not_travel() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def plan(shift: Shift, *, marks: set[Dated], days: dict[datetime.datetime, int]) -> list[datetime.datetime]:
        return [when for day in shift.days for when in day.values()]

    @server.function
    def text() -> str:
        return "2026-01-01T00:00:00"

    class Texts:
        async def text(self) -> datetime.datetime: ...  # type: ignore[empty-body]

    noon, naive = datetime.datetime(2026, 1, 1, 12, tzinfo=UTC), datetime.datetime(2026, 1, 1, 12)
    own: dict[str, Any] = {"shift": Shift([{"a": noon}]), "marks": set[Dated](), "days": dict[Any, int]()}
    wrong: list[tuple[str, Any, str]] = [
        ("shift", {"days": [{}, {"a": noon, "b": "2026-01-01T12:00:00"}]}, r"shift\.days\[1\]\['b'\]"),
        ("marks", [{"when": "2026-01-01T12:00:00"}], r"marks\[\.\.\.\]"),
        ("days", {"2026-01-01T12:00:00": 1}, r"days\[datetime.datetime\(2026, 1, 1, 12, 0\)\]"),
    ]
    async with testing.connected(server) as container:
        assert await container.call("plan", **own) == [noon]
        assert await container.call("plan", **own | {"shift": {"days": [{"a": "2026-01-01T13:00:00+01:00"}]}}) == [noon]
        for name, value, path in wrong:
            with pytest.raises(InvalidArguments, match=path + ": expected datetime with a time zone, got one without"):
                await container.call("plan", **own | {name: value})
        with pytest.raises(EncodeError, match=r"shift'\]\['days'\]\[0\]\['a'\]: a datetime without a time zone"):
            await container.call("plan", **own | {"shift": Shift([{"a": naive}])})
        with pytest.raises(EncodeError, match="a datetime without a time zone"):
            await container.call("plan", **own | {"days": {naive: 1}})
        with pytest.raises(ResultMismatch, match="result: expected datetime with a time zone"):
            await container.of(Texts).text()


@dataclass
class Samples:
    values: npt.NDArray[np.float64]
    grid: np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]] | None = None


async def test_the_dtype_and_the_dimensions_of_an_array_are_looked_at() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def total(samples: Samples, other: npt.NDArray[Any], counts: npt.NDArray[np.int32 | np.int64]) -> float:
        return float(samples.values.sum())

    ones, counts, whole = np.ones(3), np.ones(3, np.int32), np.ones((2, 2), np.int32)
    wrong: list[tuple[dict[str, Any], Any, str]] = [
        ({"values": ones.astype(np.float32)}, counts, "samples.values: expected .* of float64, got one of float32"),
        ({"values": ones, "grid": ones}, counts, "samples.grid: expected .* with 2 dimensions, got one with 1"),
        (
            {"values": ones, "grid": whole},
            counts,
            "samples.grid: expected .* of floating, got one of int32",
        ),
        ({"values": ones}, ones, r"counts: expected .* of int32 \| int64, got one of float64"),
        ({"values": [1.0]}, counts, "samples.values: expected numpy.ndarray, got list"),
    ]
    async with testing.connected(server) as container:
        assert await container.call("total", Samples(ones, np.ones((2, 2), np.float32)), ones, counts) == 3.0
        for samples, given, said in wrong:
            with pytest.raises(InvalidArguments, match=said):
                await container.call("total", samples, counts, given)


@dataclass
class Bounded:
    count: Annotated[int, pydantic.Field(gt=3)]


@pydantic.dataclasses.dataclass
class Checked:
    count: int


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (set[list[int]], "the elements of a set have to be hashable"),
        (frozenset[Marked], "the elements of a set have to be hashable"),
        (Annotated[datetime.datetime, msgspec.Meta(tz=False)], "a datetime without a time zone does not travel"),
        (Iterable[int], r"'Iterable' says too little: make it list\[...\] or Sequence"),
        (Container[int], "'Container' says too little"),
        (Annotated[int, pydantic.Field(gt=3)], "would not be looked at: say it by msgspec.Meta"),
        (dict[str, list[Bounded]], "would not be looked at: say it by msgspec.Meta"),
        (dict[int | None, str], "the keys of a dict are str, int or bytes"),
        (Checked, "'Checked' is a dataclass of pydantic, whose validators would not run"),
        (dict[str, list[Checked | None]], "whose validators would not run"),
    ],
)
def test_what_would_not_be_checked_or_never_fit_fails_when_the_function_is_registered(
    annotation: Any, why: str
) -> None:
    def handler(x: Any) -> None:
        """Takes something."""

    handler.__annotations__["x"] = annotation
    with pytest.raises(TypeError, match=why):
        ContainerServer(typed=True).function(handler)


async def test_keys_may_be_of_several_types_and_a_title_of_pydantic_constrains_nothing() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def swap(names: dict[int | str, int], more: Annotated[int, pydantic.Field(title="More")] = 0) -> dict[int, Any]:
        return {value: key for key, value in names.items()}

    async with testing.connected(server) as container:
        assert await container.call("swap", {1: 2, "a": 3}) == {2: 1, 3: "a"}
        with pytest.raises(InvalidArguments, match="names: its key b'a'"):
            await container.call("swap", {b"a": 1})


ALIASES = """
type Shade = Color
type Named = dict[str, Shade]
type Few = Annotated[int, pydantic.Field(lt=3)]
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="'type' statements are of Python 3.12")
async def test_aliases_are_looked_through() -> None:
    names: dict[str, Any] = {"Color": Color, "Annotated": Annotated, "pydantic": pydantic}
    exec(ALIASES, names)
    server = ContainerServer(typed=True)

    def paint(named: Any) -> None:
        assert named == {"a": Color.RED}

    paint.__annotations__["named"] = names["Named"]
    server.function(paint)
    async with testing.connected(server) as container:
        await container.call("paint", {"a": "red"})
        with pytest.raises(InvalidArguments, match=r"named\['a'\]: expected Color \('red', 'blue'\), got 'pink'"):
            await container.call("paint", {"a": "pink"})
    paint.__annotations__["named"] = names["Few"]
    with pytest.raises(TypeError, match="would not be looked at"):
        server.function(paint, name="few")


async def test_the_items_may_be_annotated_with_more() -> None:
    server = ContainerServer(typed=True)

    @server.function
    async def join(words: Annotated[AsyncIterator[str], "in any order"]) -> str:
        return "".join([word async for word in words])

    async with testing.connected(server) as container:
        assert await container.upload("join", ["a", "b"]) == "ab"


async def test_classes_of_attrs_are_carried() -> None:
    attrs = pytest.importorskip("attrs", reason="attrs is not installed")

    class Wheel:
        size: int
        name: str = "w"

        def __eq__(self, other: object) -> bool:
            return type(other) is type(self) and vars(other) == vars(self)

    wheel = attrs.define(Wheel, slots=False, eq=False)
    server, seen = ContainerServer(typed=True), list[Any]()

    def turn(wheels: Any) -> Any:
        seen.append(wheels)
        return wheels[0]

    turn.__annotations__ = {"wheels": list[wheel], "return": wheel}  # type: ignore[valid-type]
    server.function(turn)
    async with testing.connected(server) as container:
        assert await container.call("turn", [wheel(1), wheel(2, "x")]) == {"size": 1, "name": "w"}
        with pytest.raises(InvalidArguments, match=r"wheels\[0\].size: required, and missing"):
            await container.call("turn", [{}])
    assert seen == [[wheel(1), wheel(2, "x")]]
