"""Containers that the engine's host cannot reach dial in, and everything works as if it could."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, GroupPolicy, LinkDown, LinkUp
from tests.support.joining import TOKEN, joining_process
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import event_of, scaled, soon

from .netns import why_not
from .one_way import CONTAINER, ENGINE, OneWay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from mpzmq import Group

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
START = scaled(30.0)
PORT = 3011
MANY = 300


@contextlib.asynccontextmanager
async def lobby() -> AsyncIterator[Group]:
    """On the engine's host, which is all ours: so the port is free."""
    async with (
        ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker,
        worker.accept(
            f"tcp://{ENGINE}:{PORT}", tokens=TOKEN, policy=GroupPolicy(lost_after=None), insecure=True
        ) as group,
    ):
        yield group


async def everything(group: Group) -> None:
    """Calls, and streams both ways."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(MANY):
            yield number

    async def down() -> list[int]:
        async with group.stream("climb", MANY) as items:
            return [item async for item in items]

    calls = asyncio.gather(*(group.call("count", number) for number in range(20)))
    answers = await soon(asyncio.gather(calls, down(), group.upload("add_up", numbers())), START)
    assert answers == [list(range(20)), list(range(MANY)), sum(range(MANY))]


@pytest.fixture
def net() -> Iterator[OneWay]:
    with OneWay() as net:
        yield net


def test_there_is_no_route_from_the_engine_to_the_container(net: OneWay) -> None:
    with net.on_engine(), socket.socket() as dialling:
        assert dialling.connect_ex((CONTAINER, 3010)) == errno.ENETUNREACH


def test_calls_and_streams_a_cut_and_a_restart_of_either_side(net: OneWay) -> None:
    endpoint = net.relay(PORT)

    def joining(stack: contextlib.ExitStack) -> None:
        net.on_container(lambda: stack.enter_context(joining_process(endpoint)))

    async def story(container: contextlib.ExitStack) -> None:
        async with lobby() as group:
            await group.wait_ready(timeout=START)
            await everything(group)
            events, pid = group.events(), await group.call("pid")

            sent = [asyncio.ensure_future(group.call("slow", 0.2, number)) for number in range(100, 110)]
            while await group.call("running") < len(sent):  # noqa: ASYNC110  (another process sets no event)
                await asyncio.sleep(0.01)
            began = time.monotonic()
            net.cut()
            await event_of(events, LinkDown)
            assert time.monotonic() - began < QUICK.down_after + QUICK.interval + scaled(1.0)
            net.heal()
            await event_of(events, LinkUp, START)
            assert await soon(asyncio.gather(*sent), START) == list(range(100, 110))
            seen = await group.call("seen")
            assert [seen.count(number) for number in range(100, 110)] == [1] * 10
            assert await group.call("pid") == pid

        async with lobby() as group:  # the engine's successor: the container comes by itself
            await group.wait_ready(timeout=START)
            await everything(group)
            assert await group.call("pid") == pid
            events = group.events()
            await asyncio.to_thread(container.close)
            await event_of(events, LinkDown)
            await asyncio.to_thread(joining, container)
            await event_of(events, LinkUp, START)
            await everything(group)
            assert await group.call("pid") != pid

    with net.on_engine(), contextlib.ExitStack() as container:
        joining(container)
        asyncio.run(story(container))
