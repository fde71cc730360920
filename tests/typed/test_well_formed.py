"""Schemas that come from elsewhere: what is none is told, and no code is made of it."""

import ast
import asyncio
import copy
import dataclasses
import datetime
import json
import sys
import types
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from mpzmq import ComputerEngineWriter, ContainerServer, ProtocolError, testing
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.typed.compatibility import breaks
from mpzmq.typed.interface import methods_of
from mpzmq.typed.schema import interface_schema
from mpzmq.typed.stubs import stubs
from mpzmq.typed.well_formed import check_document
from tests.support.raw import Liar
from tests.typed.kinds import Color, Level


@dataclass
class Lots:
    some: list[int] = field(default_factory=lambda: [1])
    none: list[int] = field(default_factory=list)
    by: dict[str, int] = field(default_factory=lambda: {"a": 1})
    color: Color = Color.RED


GOOD: dict[str, Any] = {
    "functions": {
        "f": {
            "kind": "call",
            "doc": "",
            "parameters": {
                "type": "object",
                "properties": {"x": {"$ref": "#/$defs/A"}},
                "required": ["x"],
                "$defs": {"A": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}},
            },
            "result": {"type": "null"},
        }
    }
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good one with something else at a place."""
    document = copy.deepcopy(GOOD)
    holder: Any = document["functions"]
    *steps, last = path.split("/")
    for step in steps:
        holder = holder[step]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return document


def bomb(depth: int) -> dict[str, Any]:
    """Types that use the next one twice."""
    found: dict[str, Any] = {f"T{depth}": {"type": "integer"}}
    for n in range(depth):
        below = {"$ref": f"#/$defs/T{n + 1}"}
        found[f"T{n}"] = {"type": "object", "properties": {"a": below, "b": below}, "required": ["a", "b"]}
    return found


DEFS = "f/parameters/$defs"
BAD: list[Any] = [
    None,
    [],
    {},
    {"functions": []},
    {"functions": {"f": 1}},
    {"functions": {1: GOOD["functions"]["f"]}},
    changed("f/kind", "cast"),
    changed("f/kind", ...),
    changed("f/doc", 3),
    changed("f/parameters", []),
    changed("f/parameters/properties", ...),
    changed("f/parameters/properties", {"x = evil()": {}}),
    changed("f/parameters/properties", {"class": {}}),
    changed("f/parameters/required", ...),
    changed("f/parameters/required", ["y"]),
    changed("f/keyword_only", [["x"]]),
    changed("f/result", ...),
    changed("f/result", "string"),
    changed("f/result", True),
    changed("f/parameters/properties/x", True),
    changed(f"{DEFS}/A", False),
    changed("f/result", {"type": 3}),
    changed("f/result", {"type": ["string", 3]}),
    changed("f/result", {"$ref": "#/$defs/A"}),
    changed("f/result", {"$ref": 3}),
    changed("f/result", {"anyOf": {}}),
    changed("f/result", {"anyOf": [3]}),
    changed("f/result", {"enum": 3}),
    changed("f/result", {"items": 3}),
    changed("f/result", {"minimum": "evil()"}),
    changed("f/result", {"minimum": float("nan")}),
    changed("f/result", {"maximum": float("inf")}),
    changed("f/result", {"format": ["x"]}),
    changed("f/result", {"x-members": {1: 2}, "enum": [2]}),
    changed("f/result", {"x-names": ["a", "b"], "prefixItems": [True]}),
    changed("f/result", {"x-names": ["a = evil()"], "prefixItems": [True]}),
    changed(f"{DEFS}/A", {"$ref": "#/$defs/A"}),
    changed(DEFS, {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}),
    changed(DEFS, {"A": {"$ref": "#/$defs/B"}, "B": True}),
    changed(f"{DEFS}/A/properties/a", 3),
    changed(f"{DEFS}/A/required", ["b"]),
]


@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_is_no_schema_is_told(document: Any) -> None:
    with pytest.raises(ValueError, match=r" is not "):
        check_document(document)


def test_those_that_containers_have_given_are_schemas() -> None:
    check_document(GOOD)
    files = sorted((Path(__file__).parents[1] / "schemas").glob("*.json"))
    assert files
    for file in files:
        check_document(json.loads(file.read_text("utf-8")))


@pytest.mark.parametrize(
    "schema",
    [changed(f"{DEFS}/A", {"$ref": "#/$defs/A"}), {"functions": {"f": 1}}, "x"],
    ids=["cycle", "function", "text"],
)
async def test_a_container_that_sends_none_is_not_believed(
    lied: tuple[ComputerEngineWriter, Liar], schema: Any
) -> None:
    container, liar = lied
    asking = asyncio.ensure_future(container.describe(schema=True))
    described: dict[str, Any] = {"name": "liar", "instance": str(uuid4()), "version": "0.0", "status": "RUNNING"}
    described |= {"invokes": False, "functions": [], "schema": schema}
    liar.say(await liar.request(), [Kind.RESPONSE, 1, described])
    with pytest.raises(ProtocolError, match="sent a description that this version cannot read"):
        await asking


def test_no_code_is_made_of_what_a_schema_says() -> None:
    evil = "evil()"
    defined = {
        f"A\n{evil}": {"type": "object", "properties": {f"a: int = {evil}": {"type": "integer"}, "b\n": {}}},
        f"E = {evil}": {"enum": [1, 2], "x-members": {f"M = {evil}\n    X": 1, "__init__": 2}},
    }
    refs = [{"$ref": f"#/$defs/{name}"} for name in defined]
    result = {"anyOf": [*refs, {"type": "string", "pattern": f"' + {evil} + '"}], "$defs": defined}
    function = {**GOOD["functions"]["f"], "doc": f'""" + {evil} + """\\', "result": result}
    document = {"functions": {"f": function, f"g(self): {evil}": function, f"\n{evil}": function}}
    check_document(document)
    tree = ast.parse(stubs(document, "Shop", "a test"))
    assert "evil" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


async def test_names_that_are_taken_in_a_stub_are_written_otherwise() -> None:
    server = ContainerServer(typed=True)
    shade = Enum("shade", {"a b": "x", "plain": "y"})  # names that are none in Python
    shop = make_dataclass("Shop", [("list", int)])
    protocol = make_dataclass("Protocol", [("size", float, float("inf"))])

    def call(self: Any, rest: Any, *more: int, others: Any = None, **extra: float) -> None:
        """Takes what a stub has names of its own for."""

    async def add(values: Any, items: int, least: float = float("inf")) -> int:
        return sum([value async for value in values])

    call.__annotations__ |= {"self": shade, "rest": shop, "others": protocol | None}
    add.__annotations__["values"] = AsyncIterator[int]
    server.function(call)
    server.function(add)
    async with testing.connected(server) as container:
        schema = (await container.describe(schema=True)).schema
        assert schema is not None
        names: dict[str, Any] = {"__name__": __name__}
        exec(stubs(schema, "Shop", "a test"), names)
        assert set(names["shade"].__members__) == {"VALUE_0", "plain"}
        assert names["Shop_"].__annotations__ == {"list": "int"}
        add_of_stub = names["Shop"].add.__code__
        assert add_of_stub.co_varnames[: add_of_stub.co_argcount] == ("self", "items_", "items", "least")


async def test_defaults_in_a_stub_are_those_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ContainerServer(typed=True)

    @server.function
    def buy(
        lots: Lots, raw: bytes = b"ab", color: Color = Color.BLUE, level: Level = Level.HIGH, far: float = float("inf")
    ) -> Lots:
        return lots

    async with testing.connected(server) as container:
        schema = (await container.describe(schema=True)).schema
        assert schema is not None
        text = stubs(schema, "Shop", "a test")
        assert "raw: bytes = ..., color: Color = Color.BLUE, level: Level = Level.HIGH, far: float = ..." in text
        module = types.ModuleType("stubs_of_lots")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        names = vars(module)
        exec(text, names)
        lots = names["Lots"]()
        assert (lots.none, lots.color) == ([], names["Color"].RED)
        assert await container.call("buy", lots) == {"some": [1], "none": [], "by": {"a": 1}, "color": "red"}


@dataclass
class Choices:
    color: Color | None = Color.RED
    either: int | Color | None = Color.BLUE
    number: int | Color | None = 4
    nothing: Color | None = None
    due: datetime.date | None = datetime.date(2026, 3, 1)
    raw: bytes | None = b"ab"


async def test_defaults_in_a_union_are_of_one_of_its_types(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ContainerServer(typed=True)

    @server.function
    def buy(choices: Choices, color: Color | None = Color.BLUE, due: datetime.date | None = datetime.date.min) -> Any:
        return dataclasses.asdict(choices)

    async with testing.connected(server) as container:
        schema = (await container.describe(schema=True)).schema
        assert schema is not None
        text = stubs(schema, "Shop", "a test")
        assert "color: Color | None = Color.BLUE, due: datetime.date | None = ...)" in text
        module = types.ModuleType("stubs_of_choices")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        names = vars(module)
        exec(text, names)
        choices = names["Choices"]()
        color = names["Color"]
        assert (choices.color, choices.either, choices.number, choices.nothing) == (color.RED, color.BLUE, 4, None)
        assert (choices.due, choices.raw) == (msgspec.UNSET, msgspec.UNSET)  # the container knows them
        told = await container.call("buy", choices)
        assert told == {
            "color": "red",
            "either": "blue",
            "number": 4,
            "nothing": None,
            "due": "2026-03-01",
            "raw": b"ab",
        }


@dataclass
class Tree:
    value: int
    parent: "Tree | None" = None
    branches: "dict[str, list[Tree] | Tree | None]" = field(default_factory=dict)


@dataclass
class OtherTree:
    value: int
    parent: "OtherTree | None" = None
    branches: "dict[str, list[OtherTree] | OtherTree | None]" = field(default_factory=dict)


@dataclass
class TreeOfText:
    value: str
    parent: "TreeOfText | None" = None
    branches: "dict[str, list[TreeOfText] | TreeOfText | None]" = field(default_factory=dict)


def takes(annotation: Any) -> dict[str, Any]:
    def plant(tree: Any) -> None:
        """Takes a tree."""

    plant.__annotations__ |= {"tree": annotation, "return": annotation}
    server = ContainerServer(typed=True)
    server.function(plant)
    schema = server._registry.schema()
    assert schema is not None
    return schema


def test_types_that_may_be_within_themselves_are_compared() -> None:
    tree = takes(Tree | None)
    assert breaks(tree, tree) == breaks(tree, takes(OtherTree | None)) == []
    assert "tree" in breaks(tree, takes(TreeOfText | None))[0]


@pytest.mark.parametrize("annotation", [tuple[()], Any | None, dict[str, Any | None], Tree, list[tuple[()] | None]])
def test_a_stub_fits_what_it_was_written_of(monkeypatch: pytest.MonkeyPatch, annotation: Any) -> None:
    schema = takes(annotation)
    module = types.ModuleType("stubs_of_one")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(stubs(schema, "Shop", "a test"), vars(module))
    wanted = interface_schema(methods_of(module.Shop))
    assert breaks(wanted, schema) == [] == breaks(schema, schema)


def test_types_that_are_used_in_many_places_are_compared_once() -> None:
    depth = 60  # 2 ** 60 places
    function = {**GOOD["functions"]["f"], "result": {"$ref": "#/$defs/T0", "$defs": bomb(depth)}}
    document: dict[str, Any] = {"functions": {"f": function}}
    assert breaks(document, document) == []
    other = copy.deepcopy(document)
    other["functions"]["f"]["result"]["$defs"][f"T{depth}"] = {"type": "string"}
    assert len(breaks(document, other)) == 100


def test_one_type_of_a_union_that_fits_is_enough() -> None:
    assert breaks(changed("f/result", {"type": "null"}), changed("f/result", {"type": "null"})) == []
    either = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}
    assert breaks(changed("f/result", either), changed("f/result", {"type": "integer"})) == []
    assert breaks(changed("f/result", {"type": "integer"}), changed("f/result", either)) != []
