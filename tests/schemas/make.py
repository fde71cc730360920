"""The versions of a shop's functions, each beside what a caller of the first one is to be told of it.

``python -m tests.schemas.make`` writes the files of this folder anew.
"""

import enum
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from mpzmq.handlers.registry import Function
from mpzmq.typed.schema import document

FOLDER = Path(__file__).parent


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Item:
    name: str
    price: Decimal
    color: Color | None = None


@dataclass
class Receipt:
    number: int
    total: float
    note: str | None = None


def base() -> dict[str, Callable[..., Any]]:
    """The functions of the first version."""

    def buy(item: Item, count: int = 1, *, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    def find(name: str, limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10) -> list[Item]: ...  # type: ignore[empty-body]

    def paint(color: Color, mode: Literal["fast", "slow"] = "fast") -> Color: ...  # type: ignore[empty-body]

    def tags(*names: str, **values: int) -> dict[str, int]: ...  # type: ignore[empty-body]

    async def watch(since: int) -> AsyncIterator[Receipt]:
        yield Receipt(since, 0.0)

    async def load(items: AsyncIterator[Item], shelf: int) -> int: ...  # type: ignore[empty-body]

    return {function.__name__: function for function in (buy, find, paint, tags, watch, load)}


def changed(**functions: Callable[..., Any] | None) -> dict[str, Callable[..., Any]]:
    """The first version with other functions in place of some; None: without that one."""
    together = base() | functions
    return {name: function for name, function in together.items() if function is not None}


VERSIONS: dict[str, tuple[Callable[[], dict[str, Callable[..., Any]]], list[str]]] = {"1.0": (base, [])}
"""By name: the functions, and what a caller of 1.0 is told, in part."""


def version(name: str, *told: str) -> Callable[[Any], Any]:
    """Registers a version."""

    def register(make: Any) -> Any:
        VERSIONS[name] = make, list(told)
        return make

    return register


# What breaks nobody


@version("more-functions")
def _() -> Any:
    def sell(item: Item) -> Receipt: ...  # type: ignore[empty-body]

    return changed(sell=sell)


@version("parameter-with-default")
def _() -> Any:
    def buy(item: Item, count: int = 1, gift: bool = False, *, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("wider-arguments")
def _() -> Any:
    def buy(item: Item | None, count: float = 1, *, rush: bool | None = False) -> Receipt: ...  # type: ignore[empty-body]

    def find(name: str | None = None, limit: Annotated[int, msgspec.Meta(ge=0)] = 10) -> list[Item]: ...  # type: ignore[empty-body]

    class Color(enum.Enum):
        RED = "red"
        BLUE = "blue"
        GREEN = "green"

    def paint(color: Color, mode: str = "fast") -> Literal["red"]: ...  # type: ignore[empty-body]

    return changed(buy=buy, find=find, paint=paint)


@version("narrower-results")
def _() -> Any:
    @dataclass
    class Receipt:
        number: int
        total: int
        note: str
        more: str = ""

    def buy(item: Item, count: int = 1, *, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("keyword-by-position-too")
def _() -> Any:
    def buy(item: Item, count: int = 1, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


# What breaks a caller


@version("function-gone", "find: the function is gone")
def _() -> Any:
    return changed(find=None)


@version("other-way", "watch: it was asked by stream(), and is now by call()")
def _() -> Any:
    def watch(since: int) -> list[Receipt]: ...  # type: ignore[empty-body]

    return changed(watch=watch)


@version("parameter-gone", "buy: the parameter 'rush' is gone")
def _() -> Any:
    def buy(item: Item, count: int = 1) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("parameter-without-default", "buy: the parameter 'who' is new and has no default")
def _() -> Any:
    def buy(item: Item, count: int = 1, *, rush: bool = False, who: str) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("default-gone", "buy: the parameter 'count' has no default any more")
def _() -> Any:
    def buy(item: Item, count: int, *, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("parameter-renamed", "buy: the parameter 'count' is gone", "argument 2 was 'count', and is now 'n'")
def _() -> Any:
    def buy(item: Item, n: int = 1, *, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("other-order", "find: the positional argument 1 was 'name', and is now 'limit'")
def _() -> Any:
    def find(limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10, name: str = "") -> list[Item]: ...  # type: ignore[empty-body]

    return changed(find=find)


@version("keyword-only", "buy: the parameter 'count' is keyword-only now")
def _() -> Any:
    def buy(item: Item, *, count: int = 1, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("positional-only", "find: the parameter 'name' is positional-only now")
def _() -> Any:
    def find(name: str, /, limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10) -> list[Item]: ...  # type: ignore[empty-body]

    return changed(find=find)


@version("no-more-arguments", "it takes no more positional arguments", "tags: it takes no other keywords any more")
def _() -> Any:
    def tags() -> dict[str, int]: ...  # type: ignore[empty-body]

    return changed(tags=tags)


@version("narrower-rest", "a further argument", "another keyword")
def _() -> Any:
    def tags(*names: UUID, **values: Literal[1]) -> dict[str, int]: ...  # type: ignore[empty-body]

    return changed(tags=tags)


@version("narrower-argument", "count: integer, where boolean is expected")
def _() -> Any:
    def buy(item: Item, count: bool = True, *, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("tighter-bounds", "limit: maximum is 100, and 50 is expected")
def _() -> Any:
    def find(name: str, limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10) -> list[Item]: ...  # type: ignore[empty-body]

    return changed(find=find)


@version("other-text", "name: string, where uuid is expected")
def _() -> Any:
    def find(name: UUID, limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10) -> list[Item]: ...  # type: ignore[empty-body]

    return changed(find=find)


@version("enum-member-gone", "color: 'blue' is not one of 'red'")
def _() -> Any:
    class Color(enum.Enum):
        RED = "red"

    def paint(color: Color, mode: Literal["fast", "slow"] = "fast") -> Color: ...  # type: ignore[empty-body]

    return changed(paint=paint)


@version("literal-gone", "mode: 'slow' is not one of 'fast'")
def _() -> Any:
    def paint(color: Color, mode: Literal["fast"] = "fast") -> Color: ...  # type: ignore[empty-body]

    return changed(paint=paint)


@version("new-field-of-an-argument", "item.weight: it is missing")
def _() -> Any:
    @dataclass
    class Item:
        name: str
        price: Decimal
        weight: float
        color: Color | None = None

    def buy(item: Item, count: int = 1, *, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("field-of-an-argument-required", "item.color: it may be missing")
def _() -> Any:
    @dataclass
    class Item:
        name: str
        price: Decimal
        color: Color | None

    def buy(item: Item, count: int = 1, *, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("narrower-item", "an item.price: decimal, where integer is expected")
def _() -> Any:
    @dataclass
    class Item:
        name: str
        price: int

    async def load(items: AsyncIterator[Item], shelf: int) -> int: ...  # type: ignore[empty-body]

    return changed(load=load)


@version("wider-result", "the result: null, where Receipt is expected")
def _() -> Any:
    def buy(item: Item, count: int = 1, *, rush: bool = False) -> Receipt | None: ...

    return changed(buy=buy)


@version(
    "any-result",
    "the result: anything, where only integer is expected",
)
def _() -> Any:
    async def load(items: AsyncIterator[Item], shelf: int) -> Any: ...

    return changed(load=load)


@version(
    "enum-member-more-in-a-result",
    "the result: 'green' is not",
)
def _() -> Any:
    class Color(enum.Enum):
        RED = "red"
        BLUE = "blue"
        GREEN = "green"

    def paint(color: Color, mode: Literal["fast", "slow"] = "fast") -> Color: ...  # type: ignore[empty-body]

    return changed(paint=paint)


@version("field-of-a-result-gone", "the result.total: it is missing")
def _() -> Any:
    @dataclass
    class Receipt:
        number: int

    def buy(item: Item, count: int = 1, *, rush: bool = False) -> Receipt: ...  # type: ignore[empty-body]

    return changed(buy=buy)


@version("wider-stream", "an item.number: number, where integer")
def _() -> Any:
    @dataclass
    class Receipt:
        number: float
        total: float
        note: str | None = None

    async def watch(since: int) -> AsyncIterator[Receipt]:
        yield Receipt(since, 0.0)

    return changed(watch=watch)


def schema_of(functions: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    """The schema of functions, as a container tells it."""
    schemas = {}
    for name, handler in functions.items():
        function = Function(name, handler)
        function.learn_types()
        assert function.typed is not None
        schemas[name] = function.typed.schema(function.doc)
    return document(schemas)


def text_of(functions: dict[str, Callable[..., Any]]) -> str:
    """The schema as it stands in a file."""
    return json.dumps(schema_of(functions), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, (make, told) in VERSIONS.items():
        (FOLDER / f"{name}.json").write_text(text_of(make()), "utf-8")
        (FOLDER / f"{name}.verdict").write_text("".join(f"{line}\n" for line in told) or "fits\n", "utf-8")
