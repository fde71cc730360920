"""Models of pydantic in schemas and stubs: as what travels, and not as pydantic's JSON."""

import enum
import sys
import types
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

import pydantic
import pytest

from mpzmq import ContainerServer, testing
from mpzmq.typed.stubs import stubs


class Unit(enum.Enum):
    PIECE = "piece"
    BOX = "box"


class Part(pydantic.BaseModel):
    unit: Unit
    parts: list["Part"] = []


class Order(pydantic.BaseModel):
    price: Decimal
    least: Annotated[Decimal, pydantic.Field(gt=0)] | None = None
    scan: bytes
    part: Part


class Circle(pydantic.BaseModel):
    kind: Literal["circle"]
    radius: float


class Square(pydantic.BaseModel):
    kind: Literal["square"]
    side: float


class Shape(pydantic.BaseModel):
    either: Annotated[Circle | Square, pydantic.Field(discriminator="kind")]


def namesake() -> Any:
    @dataclass
    class Part:
        size: int

    return Part


def typed_server() -> ContainerServer:
    server = ContainerServer(typed=True)

    def order(order: Order, part: Any, again: Order | None = None) -> Order:
        assert part.size == 3
        return order

    order.__annotations__["part"] = namesake()
    server.function(order)
    return server


async def test_a_schema_says_of_a_model_what_travels() -> None:
    async with testing.connected(typed_server()) as container:
        schema = (await container.describe(schema=True)).schema
    assert schema is not None
    definitions = schema["functions"]["order"]["parameters"]["$defs"]
    assert definitions["Order"]["properties"]["price"] == {"title": "Price", "type": "string", "format": "decimal"}
    assert definitions["Order"]["properties"]["scan"]["contentEncoding"] == "base64"
    assert definitions["Order"]["properties"]["part"] == {"$ref": "#/$defs/Part"}
    assert definitions["Part"]["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}
    assert definitions["Unit"]["x-members"] == {"PIECE": "piece", "BOX": "box"}
    assert definitions["Part_"]["properties"] == {"size": {"type": "integer"}}
    assert set(definitions) == {"Order", "Part", "Unit", "Part_"}


class Odd(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [float("nan")], "x-large": 2**70, "x-kept": 3})
    far: float = float("inf")
    large: int = 2**70
    text: str = "\ud800"
    small: int = 3


async def test_what_cannot_be_told_of_a_model_is_left_out() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def take(odd: Odd) -> None:
        """Takes one."""

    async with testing.connected(server) as container:
        schema = (await container.describe(schema=True)).schema
    assert schema is not None
    odd = schema["functions"]["take"]["parameters"]["$defs"]["Odd"]
    assert {name: part.get("default") for name, part in odd["properties"].items()} == {
        "far": None,
        "large": None,
        "text": None,
        "small": 3,
    }
    assert odd["x-kept"] == 3 and not {"examples", "x-large"} & set(odd)


async def test_stubs_of_models_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("stubs_of_orders")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    async with testing.connected(typed_server()) as container:
        schema = (await container.describe(schema=True)).schema
        assert schema is not None
        exec(compile(stubs(schema, "Orders", "a test"), "stubs", "exec"), vars(module))
        box = module.Unit.BOX
        part = module.Part(unit=box, parts=[module.Part(unit=module.Unit.PIECE)])
        order = module.Order(price=Decimal("1.50"), least=Decimal(2), scan=b"\xff", part=part)
        await container.check(module.Orders)
        assert await container.of(module.Orders).order(order, module.Part_(size=3)) == order


class Nest(pydantic.RootModel[dict[str, "Nest | Doll"]]):
    """Has no fields: a stub has an alias for it."""


class Doll(pydantic.BaseModel):
    inside: Nest | None = None


async def test_a_stub_of_what_is_within_itself_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("stubs_of_nests")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    server = ContainerServer(typed=True)

    @server.function
    def pack(doll: Doll, nest: Nest) -> Doll:
        return Doll(inside=Nest({"first": doll, "second": nest}))

    async with testing.connected(server) as container:
        schema = (await container.describe(schema=True)).schema
        assert schema is not None
        exec(compile(stubs(schema, "Nests", "a test"), "stubs", "exec"), vars(module))
        doll = module.Doll()
        nest: dict[str, Any] = {"a": {"b": {}}}
        packed = await container.of(module.Nests).pack(doll, nest)
        assert packed == module.Doll(inside={"first": {"inside": None}, "second": nest})  # as it came: Any


async def test_a_union_of_models_is_one_in_a_schema() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def draw(shape: Shape) -> float:
        return shape.either.radius if isinstance(shape.either, Circle) else shape.either.side

    async with testing.connected(server) as container:
        schema = (await container.describe(schema=True)).schema
        assert schema is not None
        parameters = schema["functions"]["draw"]["parameters"]
        refs = [{"$ref": "#/$defs/Circle"}, {"$ref": "#/$defs/Square"}]
        assert parameters["$defs"]["Shape"]["properties"]["either"]["anyOf"] == refs
        assert await container.call("draw", {"either": {"kind": "square", "side": 2.0}}) == 2.0
    assert "either: Circle | Square" in stubs(schema, "Shapes", "a test")
