"""Whom those from outside reach."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from mpzmq import ComputerEngineWorker, ContainerServer, Group, NotConnected, keys
from mpzmq.exposed.allowed import Allowed
from mpzmq.exposed.functions import described
from mpzmq.exposed.target import OpenedTarget
from mpzmq.security.credentials import Security
from mpzmq.testing import connected


def a_server(*, typed: bool = False) -> ContainerServer:
    server = ContainerServer(typed=typed)

    @server.function
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    @server.function
    def secret() -> str:
        return "hidden"

    return server


async def test_a_source_is_opened_once_and_ended() -> None:
    async with a_server() as server:
        target = OpenedTarget(await server.bind("127.0.0.1:0"), name="door")

        first, second = await asyncio.gather(target.get(), target.get())

        assert first is second
        assert isinstance(first, Group)
        assert await first.call("add", 1, 2) == 3
        await target.close()
        await target.close()
        with pytest.raises(NotConnected, match="shut down"):
            await target.get()
        await target.open()
        assert await (await target.get()).call("add", 1, 2) == 3
        await target.close()


async def test_nobody_is_waited_for() -> None:
    target = OpenedTarget("127.0.0.1:1")

    await target.open()

    assert isinstance(await target.get(), Group)
    await target.close()


async def test_a_target_that_is_closed_while_it_is_opened_leaves_nothing() -> None:
    target = OpenedTarget("127.0.0.1:1")
    opening = asyncio.create_task(target.get())
    await asyncio.sleep(0)
    await target.close()

    with pytest.raises(NotConnected, match="shut down"):
        await opening
    gc.collect()  # a worker that was not closed would warn


async def test_what_an_application_has_stays_its_own() -> None:
    async with connected(a_server()) as container:

        async def later() -> Any:
            return container

        for given in (container, lambda: container, later):
            target = OpenedTarget(given)
            assert await target.get() is container
            await target.close()
        assert await container.call("add", 1, 2) == 3


async def test_what_is_no_target_is_refused() -> None:
    for wrong, error in ((3, TypeError), (None, TypeError), ("nonsense://x", ValueError), ("", ValueError)):
        with pytest.raises(error):
            OpenedTarget(wrong)  # type: ignore[arg-type]
    own = keys.generate()
    with pytest.raises(TypeError, match="security is for a source"):
        OpenedTarget(lambda: ComputerEngineWorker(), security=Security.client(own, own.public))  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="has to return a container"):
        await OpenedTarget(lambda: 3).get()  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("typed", [False, True])
async def test_functions_are_described_if_they_are_allowed(typed: bool) -> None:
    async with connected(a_server(typed=typed)) as container:
        (add,) = await described(container, Allowed(["add", "other"]), 5.0)

        assert (add.name, add.doc) == ("add", "Adds two numbers.")
        assert add.signature == "(a: int, b: int) -> int"
        assert add.kind == ("call" if typed else None)
        assert (add.schema is not None) is typed


async def test_of_a_group_one_member_is_asked() -> None:
    async with connected(a_server(), a_server()) as group:
        assert [one.name for one in await described(group, Allowed(["*"]), 5.0)] == ["add", "secret"]
