"""JSON that people and agents type: what it means as values of a message, and as arguments of tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator  # noqa: TC003  (handlers are annotated with it)
from typing import Any, ClassVar

from mpzmq import ContainerServer, EncodeError, Limits
from mpzmq.common.json_values import as_json_types, from_json, to_json
from mpzmq.exposed.allowed import Allowed
from mpzmq.exposed.functions import described
from mpzmq.mcp.tools import WrongArguments, arguments_of, tool_of
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.testing import connected
from tests.support.protocol import same

from .door import Door

__all__ = ["JsonDoor"]


class JsonDoor(Door):
    """One input is which tool is meant, and JSON."""

    tokens: ClassVar = [
        b'{"$b64":"', b'{"$uuid":"', b'{"$time":"', b'{"$float":"', b'{"$map":[', b"nan", b"-inf",
        b"6ba7b810-9dad-41d1-80b4-00c04fd430c8", b"2026-01-31T12:00:00+00:00", b"1e999", b"9" * 400, b"-", b"[[",
        b"]]", b"{", b"}", b'"', b'":', b",", b"null", b"true", b"\\ud800", b'"a":', b'"b":', b'"args":', b'"items":',
        b'"rest":', b"\xff",
    ]  # fmt: skip

    def __init__(self) -> None:
        self._encoder = Encoder(Limits())
        self._functions = asyncio.run(self._described())

    @staticmethod
    async def _described() -> Any:
        server = ContainerServer(typed=True)

        @server.function
        def plain(a: int, /, b: float = 1.5, *args: str, c: bytes = b"") -> dict[str, float]:
            return {}

        @server.function
        async def items(items: AsyncIterator[int], a: int = 0) -> AsyncIterator[int]:
            async for item in items:
                yield item

        @server.function
        async def upload(given: AsyncIterator[int], items: list[int]) -> None:
            return None

        async with connected(server) as container:
            return await described(container, Allowed(["*"]), 10.0)

    def push(self, data: bytes) -> int:
        """One input; returns 1 when it was JSON, and 2 when a call could be made of it."""
        text = data[1:].decode(errors="replace")
        try:
            value = from_json(text)
        except ValueError:
            return 0
        written = to_json(value)
        assert same(from_json(written), value), "it is not the same when it comes again"
        json.dumps(as_json_types(value), allow_nan=False)
        given = json.loads(text)
        if not isinstance(given, dict):
            return 1
        function = self._functions[(data[0] if data else 0) % len(self._functions)]
        tool_of(function)
        try:
            args, kwargs, items = arguments_of(function, given)
            self._encoder.prepare_all([*args, *(items or [])], "args", [])
            self._encoder.prepare(kwargs, "kwargs", [])
        except (WrongArguments, EncodeError) as error:
            assert str(error)
            return 1
        return 2
