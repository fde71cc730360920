"""Annotations that are text, as ``from __future__ import annotations`` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from mpzmq import ContainerServer, RequestContext, testing
from tests.typed.kinds import Point  # noqa: TC001  (the annotation is looked up)

if TYPE_CHECKING:
    from collections.abc import Sequence


async def test_text_is_looked_up_where_the_function_was_written() -> None:
    @dataclass
    class Local:
        value: int

    server = ContainerServer(typed=True)

    @server.function
    def total(local: Local, point: "Point", context: RequestContext) -> int:  # noqa: UP037
        return local.value + point.x

    async with testing.connected(server) as container:
        assert await container.call("total", {"value": 3}, {"x": 4, "y": 5}) == 7


async def test_a_type_may_be_written_behind_the_function_that_takes_it() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def early(late: Late) -> int:
        return late.value

    @dataclass
    class Late:
        value: int

    async with testing.connected(server) as container:
        assert await container.call("early", {"value": 3}) == 3


async def test_a_type_that_is_for_type_checkers_only_fails_at_the_bind() -> None:
    server = ContainerServer(typed=True)

    @server.function
    def total(values: Sequence[int]) -> int:
        return sum(values)

    async with server:
        with pytest.raises(TypeError, match=r"total.*name 'Sequence' is not defined"):
            await server.bind("tcp://127.0.0.1:0")
