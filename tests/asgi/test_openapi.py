"""The description of what is open."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import AsyncIterator  # noqa: TC003  (handlers are annotated with it)
from datetime import date  # noqa: TC003
from typing import Any

import pytest

from mpzmq import ContainerServer
from mpzmq.asgi import gateway
from mpzmq.asgi.openapi import openapi_document
from mpzmq.exposed.functions import ExposedFunction
from mpzmq.testing import connected
from tests.asgi.visit import Visit, ask


@dataclasses.dataclass
class Item:
    name: str
    raw: bytes
    parts: list[Item]


@dataclasses.dataclass
class Order:
    items: list[Item]
    due: date


def a_server() -> ContainerServer:
    server = ContainerServer(typed=True)

    @server.function
    def place(order: Order, urgent: bool = False) -> Item:
        """Places an order."""
        return order.items[0]

    @server.function
    def only(a: int, /, *rest: int, b: str) -> None:
        pass

    @server.function(name="a b/c")
    async def count(to: int) -> AsyncIterator[Item]:
        yield Item("x", b"", [])

    @server.function
    async def total(numbers: AsyncIterator[int]) -> int:
        return 0

    return server


async def described(server: ContainerServer) -> Any:
    async with connected(server) as container:
        answer = await ask(gateway(container, allow=["*"]), "/openapi.json", method="GET")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return answer.json


def resolved(document: Any, reference: str) -> Any:
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


async def test_typed_functions() -> None:
    document = await described(a_server())

    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {"/call/place", "/call/only", "/call/a%20b%2Fc", "/call/total"}
    place = document["paths"]["/call/place"]["post"]
    assert (place["operationId"], place["summary"]) == ("place", "Places an order.")
    by_name, by_position = place["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    order = {"$ref": "#/components/schemas/Order"}
    assert by_name["properties"]["order"] == by_position["prefixItems"][0] == order
    assert (by_name["required"], by_position["minItems"], by_position["items"]) == (["order"], 1, False)
    result = place["responses"]["200"]["content"]["application/json"]["schema"]
    assert result["properties"]["result"] == {"$ref": "#/components/schemas/Item"}
    item = document["components"]["schemas"]["Item"]
    assert item["properties"]["raw"]["required"] == ["$b64"]
    assert item["properties"]["parts"]["items"] == {"$ref": "#/components/schemas/Item"}
    assert set(place["responses"]) >= {"400", "403", "404", "409", "413", "422", "429", "502", "503", "504"}

    count, total = (document["paths"][path]["post"] for path in ("/call/a%20b%2Fc", "/call/total"))
    assert list(count["responses"]["200"]["content"]) == ["text/event-stream", "application/x-ndjson"]
    assert list(total["requestBody"]["content"]) == ["application/x-ndjson"]
    assert len(place["parameters"]) == 2 and len(count["parameters"]) == 1


async def test_every_reference_leads_somewhere() -> None:
    document = await described(a_server())
    text = json.dumps(document)

    assert "$defs" not in text
    for reference in re.findall(r'"\$ref": "([^"]+)"', text):
        assert resolved(document, reference)
    names = [name for group in document["components"].values() for name in group]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)


async def test_untyped_functions_have_a_free_body() -> None:
    server = ContainerServer()
    server.function(lambda a: a, name="f")
    post = (await described(server))["paths"]["/call/f"]["post"]

    assert post["requestBody"]["content"]["application/json"]["schema"] == {"type": ["object", "array"]}
    assert set(post["responses"]["200"]["content"]) == {
        "application/json", "text/event-stream", "application/x-ndjson",
    }  # fmt: skip


async def test_nobody_can_be_asked() -> None:
    async with gateway("127.0.0.1:1", allow=["add"], timeout=0.05) as app:
        answer = await ask(app, "/openapi.json", method="GET")
        assert answer.status == 503


async def test_it_is_asked_for_once_in_a_while() -> None:
    server = ContainerServer()
    async with connected(server) as container:
        app = gateway(container, allow=["*"])
        server.function(lambda: None, name="f")
        first = await ask(app, "/openapi.json", method="GET")
        before = container.statistics().issued
        assert (await ask(app, "/openapi.json", method="GET")).body == first.body
        assert container.statistics().issued == before
        visit = Visit("/rpc/openapi.json", {}, "GET")
        visit.scope["root_path"] = "/rpc"
        await app(visit.scope, visit.receive, visit.send)
        assert visit.json["servers"] == [{"url": "/rpc"}]


def test_two_definitions_of_one_name() -> None:
    def function(name: str, kind: str) -> ExposedFunction:
        schema = {"kind": "call", "parameters": {"type": "object", "properties": {}, "required": []}}
        return ExposedFunction(
            name, "()", "", {**schema, "result": {"$ref": "#/$defs/T", "$defs": {"T": {"type": kind}}}}
        )

    document = openapi_document([function("a", "string"), function("b", "integer"), function("c", "string")])

    def result(name: str) -> Any:
        answer = document["paths"][f"/call/{name}"]["post"]["responses"]["200"]["content"]["application/json"]
        return resolved(document, answer["schema"]["properties"]["result"]["$ref"])

    assert [result(name) for name in "abc"] == [{"type": "string"}, {"type": "integer"}, {"type": "string"}]
    assert set(document["components"]["schemas"]) == {"mpzmq.Error", "T", "T-2"}


async def test_its_schemas_are_those_of_json_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    document = await described(a_server())
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)

    def fits(path: str, value: Any) -> bool:
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator.check_schema(body)
        return bool(jsonschema.Draft202012Validator({**body, "components": document["components"]}).is_valid(value))

    order = {"items": [{"name": "x", "raw": {"$b64": "aGk="}, "parts": []}], "due": "2026-01-31"}
    assert [fits("/call/place", value) for value in ([order], {"order": order, "urgent": True}, [order, True])] == [
        True
    ] * 3
    assert [fits("/call/place", value) for value in ([], {}, [1], [order, True, 1], {"order": order, "x": 1}, 1)] == [
        False
    ] * 6
    answer = await placed(order)
    assert answer.json == {"result": order["items"][0]}


async def placed(order: Any) -> Visit:
    async with connected(a_server()) as container:
        return await ask(gateway(container, allow=["*"]), "/call/place", json.dumps([order]).encode())
