"""Functions as tools, asked by the client of the official SDK."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator  # noqa: TC003  (handlers are annotated with it)
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID  # noqa: TC003  (the same)

import jsonschema
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from mpzmq import (
    CallDetails,
    ComputerEngineWriter,
    ContainerServer,
    MpzmqError,
    Overloaded,
    Proceed,
    Refused,
    RemoteError,
    RequestTimeout,
)
from mpzmq.mcp import server as mcp_server
from mpzmq.mcp.results import MAX_BYTES, MAX_ITEMS
from mpzmq.testing import connected
from tests.support.waiting import scaled, soon, until

if TYPE_CHECKING:
    from mcp_types import CallToolResult

OPEN = ["add", "fail", "refuse", "full", "hang", "count", "endless", "total", "double", "large", "many", "who", "a/b",
        "bound", "collect", "relay"]  # fmt: skip


class Served:
    """A container with functions of all kinds.

    Attributes:
        running: handlers at work.
        got: items that an upload or a channel has had.
    """

    def __init__(self, *, typed: bool) -> None:
        self.running = 0
        self.got: list[Any] = []
        self.server = server = ContainerServer(typed=typed)

        @server.function
        def add(a: int, b: int = 1) -> int:
            """Adds two numbers."""
            return a + b

        @server.function
        def secret() -> str:
            return "hidden"

        @server.function
        def fail() -> None:
            raise RemoteError("out of stock", code="no_stock")

        @server.function
        def refuse() -> None:
            raise Refused("not today")

        @server.function
        def full() -> None: ...

        @server.middleware
        async def busy(call: CallDetails, proceed: Proceed) -> Any:
            if call.function == "full":
                error = Overloaded("full")
                error.retry_after = 2.5
                raise error
            return await proceed(call)

        @server.function
        async def hang() -> None:
            await self._hang()

        @server.function
        async def count(n: int) -> AsyncIterator[int]:
            for number in range(n):
                yield number

        @server.function
        async def endless() -> AsyncIterator[str]:
            yield "first"
            await self._hang()

        @server.function
        async def total(numbers: AsyncIterator[int]) -> int:
            return sum([number async for number in numbers])

        @server.function
        async def double(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
            async for number in numbers:
                yield 2 * number

        @server.function
        async def collect(values: AsyncIterator[Any]) -> None:
            self.running += 1
            try:
                async for value in values:
                    self.got.append(value)
            finally:
                self.running -= 1

        @server.function
        async def relay(values: AsyncIterator[Any]) -> AsyncIterator[Any]:
            self.running += 1
            try:
                async for value in values:
                    self.got.append(value)
                    yield value
            finally:
                self.running -= 1

        @server.function
        def large() -> str:
            return "x" * MAX_BYTES

        @server.function
        def bound(lower: bool) -> dict[str, float]:
            return {"x": -math.inf if lower else math.inf}

        @server.function
        def who(id: UUID) -> dict[str, UUID]:
            return {"id": id}

        server.function(lambda: 1, name="a/b") if not typed else server.function(add, name="a/b")

        @server.function
        async def many() -> AsyncIterator[int]:
            self.running += 1
            try:
                for number in range(10 * MAX_ITEMS):
                    yield number
            finally:
                self.running -= 1

    async def _hang(self) -> None:
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1


@asynccontextmanager
async def tools(*, typed: bool = True, **options: Any) -> AsyncIterator[tuple[Served, Client]]:
    served = Served(typed=typed)
    async with connected(served.server) as container:
        made = mcp_server(container, allow=OPEN, **{"timeout": scaled(5.0), **options})
        async with Client(made) as client:
            yield served, client


def text_of(result: CallToolResult) -> str:
    return "\n".join(getattr(one, "text", "") for one in result.content)


async def test_what_is_offered(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with tools() as (_, client):
            offered = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert sorted(offered) == sorted(set(OPEN) - {"a/b"})
    assert offered["add"].description == "Adds two numbers.\nadd(a: int, b: int = 1) -> int"
    assert offered["add"].input_schema["required"] == ["a"]
    for tool in offered.values():
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        assert tool.output_schema is not None
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
    assert "not offered" in caplog.text and "a/b" in caplog.text


@pytest.mark.parametrize("typed", [True, False])
async def test_calls(typed: bool) -> None:
    async with tools(typed=typed) as (_, client):
        if typed:  # the client holds results against their schemas once it knows these
            await client.list_tools()
        result = await client.call_tool("add", {"a": 2})
        assert (text_of(result), result.is_error) == ("3", False)
        assert result.structured_content == ({"result": 3} if typed else None)
        own_id = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
        given: Any = own_id if typed else {"$uuid": own_id}
        assert json.loads(text_of(await client.call_tool("who", {"id": given}))) == {"id": own_id}
        assert json.loads(text_of(await client.call_tool("count", {"n": 3}))) == [0, 1, 2]
        assert json.loads(text_of(await client.call_tool("bound", {"lower": True}))) == {"x": {"$float": "-inf"}}


async def test_items_are_told_as_they_come_and_taken() -> None:
    told: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async with tools() as (_, client):
        result = await client.call_tool("count", {"n": 3}, progress_callback=on_progress)
        assert result.structured_content == {"items": [0, 1, 2]}
        assert told == [(1.0, "0"), (2.0, "1"), (3.0, "2")]
        assert (await client.call_tool("total", {"items": [1, 2, 3]})).structured_content == {"result": 6}
        assert (await client.call_tool("double", {"items": [1, 2]})).structured_content == {"items": [2, 4]}


async def test_what_is_too_much_is_cut_and_said() -> None:
    async with tools() as (served, client):
        many = await client.call_tool("many")
        assert many.structured_content is not None
        assert len(many.structured_content["items"]) == MAX_ITEMS
        assert f"{MAX_ITEMS:,} items are the most" in many.structured_content["cut"]
        assert "It was ended there" in text_of(many)
        await until(lambda: not served.running)
        large = await client.call_tool("large")
        assert large.is_error
        assert "ResultTooLarge (executed: YES)" in text_of(large)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("add", {"a": "x"}, ["InvalidArguments (executed: NO)", "a: expected int", "correct the arguments"]),
        ("add", {}, ["InvalidArguments (executed: NO)", "correct the arguments"]),
        ("add", {"a": 1, "c": 2}, ["InvalidArguments (executed: NO)"]),
        ("add", {"a": {"$b64": 1}}, ["InvalidArguments (executed: NO)", "is no b64"]),
        ("add", {"a": 2**70}, ["InvalidArguments (executed: NO)", "64 bit"]),
        ("fail", {}, ["RemoteError (executed: YES)", "out of stock", "find out how far it came"]),
        ("refuse", {}, ["Refused (executed: NO)", "not today", "Nothing has run"]),
        ("full", {}, ["Overloaded (executed: NO)", "call it again in 2.5 s"]),
        ("count", {"n": "x"}, ["InvalidArguments (executed: NO)", "n: expected int"]),
    ],
)
async def test_errors_are_told_to_the_agent(name: str, given: dict[str, Any], words: list[str]) -> None:
    async with tools() as (_, client):
        result = await client.call_tool(name, given)

    assert result.is_error
    assert not [word for word in words if word not in text_of(result)], text_of(result)


@pytest.mark.parametrize("name", ["collect", "relay"])
@pytest.mark.parametrize("odd", [2**70, {"$map": [[None, 1]]}, "\ud800"])
async def test_an_item_that_cannot_be_sent_ends_the_function_that_has_begun(name: str, odd: Any) -> None:
    async with tools(timeout=scaled(60.0)) as (served, client):
        result = await soon(client.call_tool(name, {"items": [1, 2, odd, 4]}))

        assert result.is_error
        assert "InvalidArguments (executed: UNKNOWN): item 2: cannot send item" in text_of(result)
        assert "Nothing has run" not in text_of(result)
        await until(lambda: not served.running)
        assert served.got == [1, 2][: len(served.got)]


@pytest.mark.parametrize("name", ["collect", "relay"])
async def test_who_takes_items_is_asked_by_those_who_know_it(name: str) -> None:
    async with tools(typed=False) as (_, client):
        result = await client.call_tool(name, {"items": [1]})
        assert "Unsupported (executed: NO)" in text_of(result)
        assert "calling it again does not help" in text_of(result)


async def test_what_has_changed_is_asked_for_again_at_once() -> None:
    newer = ContainerServer(typed=True)

    @newer.function
    async def add(a: int) -> AsyncIterator[int]:
        yield a

    async with connected(Served(typed=True).server) as old, connected(newer) as new:
        there = old
        async with Client(mcp_server(lambda: there, allow=["add"])) as client:
            assert text_of(await client.call_tool("add", {"a": 1})) == "2"
            there = new
            assert "Unsupported (executed: NO)" in text_of(await client.call_tool("add", {"a": 1}))
            await client.list_tools()
            assert text_of(await client.call_tool("add", {"a": 1})) == "[1]"


@pytest.mark.parametrize("name", ["secret", "nothing", "a/b", ""])
async def test_nothing_else_is_there(name: str) -> None:
    async with tools() as (_, client):
        with pytest.raises(MCPError, match="Unknown tool") as unknown:
            await client.call_tool(name)
    assert unknown.value.code == -32602
    assert "add" not in str(unknown.value)


@pytest.mark.parametrize("name", ["hang", "endless"])
async def test_a_call_ends_by_its_deadline(name: str) -> None:
    async with tools(timeout=0.2) as (served, client):
        result = await client.call_tool(name)
        assert result.is_error
        assert "RequestTimeout" in text_of(result)
        if name == "endless":
            assert '1 items had come before: ["first"]' in text_of(result)
        await until(lambda: not served.running)


@pytest.mark.parametrize("name", ["hang", "endless"])
@pytest.mark.parametrize("how", ["cancelled", "gone"])
async def test_a_caller_that_goes_ends_the_handler(name: str, how: str) -> None:
    async with tools(timeout=scaled(60.0)) as (served, client):
        asked = asyncio.create_task(client.call_tool(name))
        await until(lambda: served.running == 1)
        if how == "cancelled":
            asked.cancel()
            await asyncio.wait((asked,))
            await until(lambda: not served.running)
    await until(lambda: not served.running)
    asked.cancel()
    await asyncio.wait((asked,))


async def test_containers_that_are_away_are_told_of() -> None:
    made = mcp_server("127.0.0.1:1", allow=["add"], timeout=0.1)
    async with Client(made) as client:
        with pytest.raises(MCPError, match="the functions are not known now"):
            await client.list_tools()
        result = await soon(client.call_tool("add", {"a": 1}))
        assert result.is_error
        assert "Nothing has run" in text_of(result)


async def test_what_was_known_is_called_while_nobody_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpzmq.exposed.descriptions.KEPT_FOR", 0.0)
    async with connected(Served(typed=True).server) as container:
        silent: list[MpzmqError] = []

        def target() -> ComputerEngineWriter:
            if silent:
                raise silent.pop()
            return container

        async with Client(mcp_server(target, allow=["add", "count"])) as client:
            await client.list_tools()
            silent.append(RequestTimeout("it does not tell"))
            assert text_of(await client.call_tool("add", {"a": 1})) == "2"
            assert not silent


async def test_nothing_has_run_where_nobody_tells_what_there_is() -> None:
    def target() -> Any:
        raise RequestTimeout("it does not tell")  # of which nobody knows whether it has run

    async with Client(mcp_server(target, allow=["add"])) as client:
        result = await client.call_tool("add", {"a": 1})
        assert "RequestTimeout (executed: NO)" in text_of(result)
        assert "Nothing has run" in text_of(result)


async def test_a_source_is_left_when_nobody_is_connected() -> None:
    served = Served(typed=True)
    async with served.server:
        made = mcp_server(await served.server.bind("127.0.0.1:0"), allow=["add"])
        for _ in range(2):
            async with Client(made) as client:
                assert text_of(await client.call_tool("add", {"a": 1})) == "2"
                assert len(served.server.engines()) == 1
            await until(lambda: not served.server.engines())


def test_what_makes_no_server() -> None:
    with pytest.raises(ValueError, match="timeout"):
        mcp_server("127.0.0.1:1", allow=["add"], timeout=0)
