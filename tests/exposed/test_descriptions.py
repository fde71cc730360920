"""What is known of the functions that are open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mpzmq import ComputerEngineWorker, ContainerServer, MpzmqError
from mpzmq.exposed.allowed import Allowed
from mpzmq.exposed.descriptions import Descriptions
from mpzmq.exposed.target import OpenedTarget
from mpzmq.testing import connected
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq.exposed.target import Container


def counted(container: Container) -> tuple[list[None], Callable[[], Container]]:
    """A target, and how often it was asked for."""
    asked: list[None] = []

    def target() -> Container:
        asked.append(None)
        return container

    return asked, target


async def test_it_is_asked_once_for_all_who_want_it() -> None:
    server = ContainerServer()
    server.function(lambda: 1, name="one")
    async with connected(server) as container:
        asked, target = counted(container)
        descriptions = Descriptions(OpenedTarget(target), Allowed(["one"]), 30.0)
        found = await soon(asyncio.gather(*(descriptions.get() for _ in range(20))))

        assert [one.name for each in found for one in each] == 20 * ["one"]
        assert len(asked) == 1
        descriptions.doubt()
        await descriptions.get()
        assert len(asked) == 2


async def test_who_has_waited_for_nobody_does_not_wait_again() -> None:
    async with ComputerEngineWorker() as worker:
        asked, target = counted(await worker.group("127.0.0.1:1", wait=False))
        descriptions = Descriptions(OpenedTarget(target), Allowed(["one"]), 0.2)
        for rounds in (1, 2):
            found: list[Any] = await soon(
                asyncio.gather(*(descriptions.get() for _ in range(20)), return_exceptions=True)
            )
            assert [one for one in found if not isinstance(one, MpzmqError)] == []
            assert len(set(map(id, found))) == 20  # each has an error of its own
            assert len(asked) == rounds
