"""A group follows its name while it works: who comes takes part, who goes ends what it has, and nothing fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, ContainerServer, GroupPolicy
from mpzmq.address import parse_address
from mpzmq.engine.resolvers.host_addresses import HostAddresses
from mpzmq.engine.resolvers.polling import Polled
from tests.support.waiting import SECONDS, soon, until

if TYPE_CHECKING:
    from mpzmq import Group

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 and so on are there on Linux only")

REFRESH = 0.1


class Cluster:
    """Containers on addresses of loopback, all on one port, and what DNS says of them."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self.port = 0
        self.numbers: list[str] = []
        self.servers: dict[str, ContainerServer] = {}

    async def scale(self, count: int) -> None:
        """So many are ready from now on; those that leave the name are still there."""
        numbers = [f"127.0.0.{number}" for number in range(1, count + 1)]
        for number in numbers:
            if number not in self.servers:
                server = self.servers[number] = ContainerServer(name=number)
                server.function(asyncio.sleep, name="sleep")
                await self._stack.enter_async_context(server)
                self.port = parse_address(await server.bind(f"{number}:{self.port}")).port
        self.numbers = numbers

    async def resolve(self, host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        return [(socket.AF_INET, number) for number in self.numbers]

    @property
    def source(self) -> Polled:
        """``dns://calc:PORT``, with the name server in this object."""
        return Polled(HostAddresses(parse_address(f"calc:{self.port}"), self.resolve).look_up, REFRESH)

    def all_have_served(self, count: int, before: list[int]) -> bool:
        """Whether each of the first ones has answered more than it had."""
        return all(now > then for now, then in zip(self.served()[:count], before[:count], strict=True))

    def served(self) -> list[int]:
        return [server.statistics().replied for server in self.servers.values()]


async def test_a_name_that_is_scaled_under_load() -> None:
    async with contextlib.AsyncExitStack() as stack:
        cluster = Cluster(stack)
        await cluster.scale(2)
        worker = await stack.enter_async_context(ComputerEngineWorker())
        group = await worker.group(cluster.source, policy=GroupPolicy(refresh=REFRESH))
        done = asyncio.Event()
        answered = 0

        async def caller() -> None:
            nonlocal answered
            while not done.is_set():
                await group.call("sleep", 0.005)
                answered += 1

        def running(count: int) -> bool:
            return len(group.members) == count == sum(member.state.name == "ALIVE" for member in group.members)

        async with asyncio.TaskGroup() as callers:
            for _ in range(20):
                callers.create_task(caller())
            for count in (2, 6, 3):
                await cluster.scale(count)
                await until(partial(running, count))
                await until(partial(cluster.all_have_served, count, cluster.served()))
            await until(lambda: not any(s.statistics().in_flight for s in list(cluster.servers.values())[3:]))
            gone = cluster.served()[3:]
            enough = answered + 100
            await until(lambda: answered > enough)
            assert cluster.served()[3:] == gone  # nobody asks those that have left the name
            done.set()
        statistics = group.statistics()
        assert (statistics.failed, statistics.cancelled) == (0, 0)
        assert sum(cluster.served()) == answered == statistics.replied


async def test_what_is_under_way_on_a_member_that_leaves_ends_there() -> None:
    async with contextlib.AsyncExitStack() as stack:
        cluster = Cluster(stack)
        await cluster.scale(1)
        worker = await stack.enter_async_context(ComputerEngineWorker())
        group = await worker.group(cluster.source, policy=GroupPolicy(refresh=REFRESH))
        call = asyncio.create_task(group.call("sleep", 1.0))
        await until(lambda: cluster.servers["127.0.0.1"].statistics().in_flight)
        await cluster.scale(2)
        cluster.numbers = ["127.0.0.2"]
        await until(lambda: _names(group) == [f"127.0.0.2:{cluster.port}"])
        assert not call.done()
        assert await soon(call) is None
        await until(lambda: not cluster.servers["127.0.0.1"].statistics().sessions)  # and then its link ends


async def test_a_member_that_is_no_container_costs_no_other() -> None:
    """It is a line of the log, and a member that is not asked."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with contextlib.AsyncExitStack() as stack:
        cluster = Cluster(stack)
        await cluster.scale(1)
        stranger = await stack.enter_async_context(await asyncio.start_server(hang_up, "127.0.0.2", cluster.port))
        cluster.numbers.append("127.0.0.2")
        worker = await stack.enter_async_context(ComputerEngineWorker())
        group = await worker.group(cluster.source, policy=GroupPolicy(refresh=REFRESH), timeout=SECONDS)
        assert len(_names(group)) == 2
        for _ in range(20):
            await soon(group.call("sleep", 0))
        assert stranger.is_serving()
        states = {member.address.partition(":")[0]: member.state.name for member in group.members}
        assert states["127.0.0.1"] == "ALIVE"
        assert states["127.0.0.2"] != "ALIVE"


def _names(group: Group) -> list[str]:
    return [member.name for member in group.members]
