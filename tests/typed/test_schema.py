"""Schemas: what a container tells of its functions, and how an interface is compared with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated, Any, Protocol
from uuid import uuid4

import msgspec
import pytest

import mpzmq.blocking
from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ContainerServer,
    Executed,
    NotConnected,
    Unsupported,
    testing,
)
from mpzmq.protocol.wire.kinds import Code, Kind
from mpzmq.typed.schema import DIALECT
from tests.support.raw import Liar
from tests.typed.kinds import Color, Item, Point
from tests.typed.test_proxies import BlockingShop, Shop, shop


async def test_describe_has_a_schema_only_when_asked() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def buy(item: Item, /, count: int = 1, *, color: Color) -> Decimal:
        """Buys it."""
        return count * item.price

    async with testing.connected(server) as container:
        assert (await container.describe()).schema is None
        schema = (await container.describe(schema=True)).schema
        async with ComputerEngineWorker() as worker:
            handle = await worker.connect(container.address)
            assert (await worker.service().describe(handle.remote_id, schema=True)).schema == schema
    assert schema is not None
    colors = {"title": "Color", "enum": ["red", "blue"], "x-members": {"RED": "red", "BLUE": "blue"}}
    fields = {
        "name": {"type": "string"},
        "price": {"type": "string", "format": "decimal"},
        "colors": {"type": "array", "items": {"$ref": "#/$defs/Color"}, "default": []},
    }
    item = {"title": "Item", "type": "object", "properties": fields, "required": ["name", "price"]}
    assert schema == {
        "$schema": DIALECT,
        "functions": {
            "buy": {
                "kind": "call",
                "doc": "Buys it.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "item": {"$ref": "#/$defs/Item"},
                        "count": {"type": "integer", "default": 1},
                        "color": {"$ref": "#/$defs/Color"},
                    },
                    "required": ["item", "color"],
                    "additionalProperties": False,
                    "$defs": {"Item": item, "Color": colors},
                },
                "positional_only": ["item"],
                "keyword_only": ["color"],
                "result": {"type": "string", "format": "decimal"},
            }
        },
    }


NOT_TOLD = [2**70, -(2**63) - 1, "\ud800", float("nan"), [1.0, float("inf")], {"a": [2**64]}, (1, {"b": float("nan")})]


@pytest.mark.parametrize("default", NOT_TOLD, ids=ascii)
async def test_a_default_that_cannot_be_told_is_left_out_and_hides_nothing_else(default: Any) -> None:
    server = ContainerServer(typed=True)

    def odd(first: int = 1, second: Any = default) -> None:
        """Has a default that is not for JSON, or not for a message."""

    hints: dict[str, Any] = {"second": float if isinstance(default, float) else Any}
    hints["first"] = Annotated[int, msgspec.Meta(extra_json_schema={"x-odd": default, "x-even": [2]})]
    odd.__annotations__ |= hints
    server.function(odd)
    async with testing.connected(server) as container:
        schema = (await container.describe(schema=True)).schema
    assert schema is not None
    parameters = schema["functions"]["odd"]["parameters"]["properties"]
    assert "default" not in parameters["second"]
    assert (parameters["first"]["default"], parameters["first"]["x-even"]) == (1, [2])
    json.dumps(schema, allow_nan=False).encode()


async def test_an_untyped_container_has_none() -> None:
    async with testing.connected(ContainerServer()) as container:
        assert (await container.describe(schema=True)).schema is None
        with pytest.raises(Unsupported, match="has no schema") as caught:
            await container.check(Shop)
        assert caught.value.executed is Executed.NO


async def test_a_container_that_knows_no_schemas_is_described_without(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied

    async def is_asked(*answer: Any) -> list[Any]:
        ((tag, record),) = liar.router.unpack(await liar.router.receive())
        liar.say(tag, list(answer))
        return list(record[6])

    described: dict[str, Any] = {
        "name": "old",
        "instance": str(uuid4()),
        "version": "0.0",
        "status": "RUNNING",
        "functions": [],
    }
    described["invokes"] = False
    asking = asyncio.ensure_future(container.describe(schema=True))
    assert await is_asked(Kind.ERROR, Code.INVALID_ARGUMENTS, 0, 1, "too many positional arguments", None) == ["schema"]
    assert await is_asked(Kind.RESPONSE, 1, described) == []
    description = await asking
    assert (description.name, description.schema) == ("old", None)


class Larger(Shop, Protocol):
    async def sell(self, item: Item) -> Decimal: ...


class Other(Protocol):
    async def buy(self, item: Point, *, color: Color = Color.RED) -> int: ...
    def walk(self, start: Point, steps: int, more: int) -> AsyncIterator[Point]: ...


async def test_an_interface_is_compared_with_what_the_container_offers() -> None:
    async with testing.connected(shop("shop")) as container:
        await container.check(Shop)
        await container.check(BlockingShop, blocking=True)
        with pytest.raises(TypeError, match=r"'shop' at .* does not offer Larger: sell: the function is gone$"):
            await container.check(Larger)
        with pytest.raises(TypeError, match="does not offer Other") as caught:
            await container.check(Other)
        for told in ("item.name: it is missing", "the result: decimal, where integer", "the parameter 'more' is gone"):
            assert told in str(caught.value)


async def test_an_interface_is_compared_with_what_each_member_of_a_group_offers() -> None:
    other = ContainerServer(name="b", typed=True)

    @other.function
    def buy(item: Point, *, color: Color = Color.RED) -> int:
        return item.x

    def talk(address: str) -> None:
        with mpzmq.blocking.group([address], typed=True) as group:
            group.check(BlockingShop)
            with pytest.raises(TypeError, match="is a channel"):
                group.check(Shop)

    async with testing.connected(shop("a"), other) as group:
        with pytest.raises(TypeError, match=r"'b' at .* does not offer Shop: .*find: the function is gone") as caught:
            await group.check(Shop)
        assert "'a' at" not in str(caught.value)
        with pytest.raises(TypeError, match=r"(?s)'a' at .*\n.*'b' at .* does not offer Larger"):
            await group.check(Larger)
        with pytest.raises(NotConnected, match="has no members whose offer could be compared"):
            await group.where(kind="none").check(Shop)
        await asyncio.to_thread(talk, group.handle(group.members[0].name).address)
    async with testing.connected(shop("a"), shop("b")) as group:
        await group.check(Shop)
    async with testing.connected(shop("a"), ContainerServer(name="b")) as group:
        with pytest.raises(Unsupported, match=r"'b' at .* has no schema"):
            await group.check(Shop)


class Counter:
    def __init__(self) -> None:
        self.value = 0

    def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    def hidden(self) -> None:
        raise AssertionError("it is in no interface")


class Counting(Protocol):
    async def add(self, by: int = 1) -> int: ...
    def count(self, to: int) -> AsyncIterator[int]: ...


class Strange(Protocol):
    async def add(self, by: str) -> int: ...
    async def count(self, to: int) -> int: ...


class Lacking(Protocol):
    async def remove(self) -> None: ...


async def test_the_methods_of_an_object_are_registered_by_an_interface() -> None:
    server = ContainerServer(typed=True)
    server.functions(Counter(), interface=Counting)
    async with testing.connected(server) as container:
        counter = container.of(Counting)
        assert [await counter.add(), await counter.add(by=5)] == [1, 6]
        assert [number async for number in counter.count(3)] == [0, 1, 2]
        assert {function.name for function in (await container.describe()).functions} == {"add", "count"}


def test_an_object_that_does_not_fit_an_interface_is_told_and_nothing_is_registered() -> None:
    server = ContainerServer(typed=True)
    with pytest.raises(TypeError, match="has no method 'remove', which Lacking names"):
        server.functions(Counter(), interface=Lacking)
    with pytest.raises(
        TypeError, match=r"does not fit Strange: add: what callers pass .* by: string, where integer"
    ) as e:
        server.functions(Counter(), interface=Strange)
    assert "count: it was asked by call(), and is now by stream()" in str(e.value)

    @server.function
    def count(to: int) -> int:
        return to

    with pytest.raises(ValueError, match="there is a function 'count' already"):
        server.functions(Counter(), interface=Counting)
    server.function(Counter().add)  # it was not registered


def test_a_schema_can_be_read_by_who_knows_json_schema_only() -> None:
    from tests.schemas.make import base, schema_of

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if "$ref" in value else set()
            return own.union(*map(references, value.values()))
        return set[str]().union(*map(references, value)) if isinstance(value, list) else set()

    for function in schema_of(base())["functions"].values():
        for part in (function["parameters"], function["result"]):
            assert references(part) == {f"#/$defs/{name}" for name in part.get("$defs", {})}
