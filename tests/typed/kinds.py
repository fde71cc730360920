"""Types of all kinds that a message can carry, with values of each."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic
from hypothesis import strategies as st

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    FAST = "fast"
    SAFE = "safe"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Item:
    name: str
    price: decimal.Decimal
    colors: list[Color] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int


@dataclass
class Job:
    items: list[Item]
    by_name: dict[str, Item]
    due: datetime.date | None = None


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    content: T


class Row(msgspec.Struct):
    id: int
    label: str = "none"


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str
    last_name: str


class Tuple2(msgspec.Struct, array_like=True):
    left: int
    right: str


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square"):
    side: float


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str = "none"


class Inner(pydantic.BaseModel):
    count: int


class Model(pydantic.BaseModel):
    name: str
    when: datetime.date
    inner: Inner
    price: decimal.Decimal = decimal.Decimal("1.50")


UserId = NewType("UserId", int)

INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
DATES = st.dates()
AWARE = st.datetimes(timezones=st.just(datetime.UTC))
TIMES = st.times()
SPANS = st.timedeltas(datetime.timedelta(days=-10000), datetime.timedelta(days=10000))
UUIDS = st.uuids()
BYTES = st.binary(max_size=40)
COLORS = st.sampled_from(Color)
PATHS = st.lists(st.sampled_from(["a", "b.txt", "..", "ü"]), min_size=1, max_size=4).map(lambda p: pathlib.Path(*p))
ITEMS = st.builds(Item, TEXTS, DECIMALS, st.lists(COLORS, max_size=3))
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.builds(Tree, INTS), lambda below: st.builds(Tree, INTS, st.lists(below, max_size=3)), max_leaves=8
)


LARGE = st.integers(0, 255).map(lambda value: bytes([value]) * 20_000)
JOBS = st.builds(Job, st.lists(ITEMS, max_size=3), st.dictionaries(TEXTS, ITEMS, max_size=3), st.none() | DATES)
MODELS = st.builds(Model, name=TEXTS, when=DATES, inner=st.builds(Inner, count=INTS), price=DECIMALS)


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Short lists."""
    return st.lists(of, max_size=4)


KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "None": (type(None), st.none()),
    "bool": (bool, st.booleans()),
    "int": (int, INTS),
    "float": (float, FLOATS),
    "str": (str, TEXTS),
    "bytes": (bytes, BYTES),
    "large bytes": (bytes, LARGE),
    "bytearray": (bytearray, BYTES.map(bytearray)),
    "Any": (Any, st.one_of(INTS, TEXTS, lists(INTS))),
    "list": (list, lists(INTS)),
    "list[int]": (list[int], lists(INTS)),
    "tuple[int, str]": (tuple[int, str], st.tuples(INTS, TEXTS)),
    "tuple[int, ...]": (tuple[int, ...], lists(INTS).map(tuple)),
    "Sequence[float]": (Sequence[float], lists(FLOATS)),
    "set[int]": (set[int], st.sets(INTS, max_size=5)),
    "frozenset[UUID]": (frozenset[uuid.UUID], st.frozensets(UUIDS, max_size=3)),
    "set of large bytes": (set[bytes], st.sets(LARGE, max_size=3)),
    "set of dataclasses": (set[Point], st.sets(st.builds(Point, INTS, INTS), max_size=3)),
    "dict[str, int]": (dict[str, int], st.dictionaries(TEXTS, INTS, max_size=4)),
    "dict[int, str]": (dict[int, str], st.dictionaries(INTS, TEXTS, max_size=4)),
    "dict[bytes, int]": (dict[bytes, int], st.dictionaries(BYTES, INTS, max_size=4)),
    "dict[date, Item]": (dict[datetime.date, Item], st.dictionaries(DATES, ITEMS, max_size=3)),
    "dict[Color, int]": (dict[Color, int], st.dictionaries(COLORS, INTS, max_size=2)),
    "dict[UUID, int]": (dict[uuid.UUID, int], st.dictionaries(UUIDS, INTS, max_size=3)),
    "Mapping[str, list[int]]": (Mapping[str, list[int]], st.dictionaries(TEXTS, lists(INTS), max_size=3)),
    "Enum": (Color, COLORS),
    "IntEnum": (Level, st.sampled_from(Level)),
    "StrEnum": (Mode, st.sampled_from(Mode)),
    "Flag": (Rights, st.sampled_from([Rights.READ, Rights.WRITE, Rights.READ | Rights.WRITE])),
    "Literal": (Literal["a", "b", 3], st.sampled_from(["a", "b", 3])),
    "Decimal": (decimal.Decimal, DECIMALS),
    "UUID": (uuid.UUID, UUIDS),
    "date": (datetime.date, DATES),
    "time": (datetime.time, TIMES),
    "timedelta": (datetime.timedelta, SPANS),
    "aware datetime": (datetime.datetime, AWARE),
    "Path": (pathlib.Path, PATHS),
    "Optional": (int | None, st.none() | INTS),
    "Union": (int | str | None, st.none() | INTS | TEXTS),
    "NewType": (UserId, INTS),
    "Annotated": (Annotated[int, msgspec.Meta(ge=0, le=10)], st.integers(0, 10)),
    "dataclass": (Item, ITEMS),
    "frozen dataclass with slots": (Point, st.builds(Point, INTS, INTS)),
    "nested dataclass": (Job, JOBS),
    "recursive dataclass": (Tree, TREES),
    "generic dataclass": (Box[datetime.date], st.builds(Box, DATES)),
    "Struct": (Row, st.builds(Row, INTS, TEXTS)),
    "Struct with other names": (Renamed, st.builds(Renamed, TEXTS, TEXTS)),
    "Struct as list": (Tuple2, st.builds(Tuple2, INTS, TEXTS)),
    "union of tagged Structs": (Circle | Square, st.builds(Circle, FLOATS) | st.builds(Square, FLOATS)),
    "TypedDict": (Movie, st.fixed_dictionaries({"title": TEXTS}, optional={"year": INTS})),
    "NamedTuple": (Pair, st.builds(Pair, INTS, TEXTS)),
    "pydantic model": (Model, MODELS),
    "list of pydantic models": (list[Inner], lists(st.builds(Inner, count=INTS))),
}  # fmt: skip
