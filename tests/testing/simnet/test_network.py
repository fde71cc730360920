"""Whole workers and containers over the simulated network, on the virtual clock."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ConnectRefused,
    ConnectTimeout,
    ContainerServer,
    Executed,
    LinkDown,
    LinkFailed,
    LinkRetry,
    LinkState,
    LinkUp,
    RequestTimeout,
)
from mpzmq.testing.simnet.network import MemoryNetwork, VirtualClockLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine

ENDPOINT = "tcp://10.0.0.1:3010"


def simulate(scene: Coroutine[Any, Any, None]) -> None:
    """Runs a scene on the virtual clock."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(scene)


def worker_on(network: MemoryNetwork) -> ComputerEngineWorker:
    """A worker of the simulated network."""
    worker = ComputerEngineWorker()
    worker._transport = network
    return worker


def server_on(network: MemoryNetwork) -> ContainerServer:
    """A container of the simulated network."""
    server = ContainerServer(name="simulated")
    server._transport = network

    @server.on_invoke
    def echo(data: object) -> object:
        return data

    @server.function
    async def sleep(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    return server


def test_hours_pass_in_no_time() -> None:
    async def scene() -> None:
        network = MemoryNetwork()
        async with server_on(network) as server, worker_on(network) as worker:
            container = await worker.connect(uuid.uuid4(), await server.bind(ENDPOINT, insecure=True))
            assert await container.call("sleep", 7200.0, timeout=None) == 7200.0
            assert asyncio.get_running_loop().time() > 7200
            assert container.state is LinkState.ALIVE
            assert await container.request(memoryview(b"abc")) == b"abc"

    began = time.monotonic()
    simulate(scene())
    assert time.monotonic() - began < 30


def test_a_cut_is_survived_by_what_was_sent() -> None:
    async def scene() -> None:
        network = MemoryNetwork(seed=1)
        async with server_on(network) as server, worker_on(network) as worker:
            container = await worker.connect(uuid.uuid4(), await server.bind(ENDPOINT, insecure=True))
            events = worker.service().events()
            call = asyncio.create_task(container.call("sleep", 5.0))
            again = asyncio.create_task(container.call("sleep", 5.0, idempotent=True))
            await asyncio.sleep(1)
            network.cut(ENDPOINT)
            assert await call == await again == 5.0
            assert [type(await anext(events)) for _ in range(2)] == [LinkDown, LinkUp]
            assert container.statistics().resent == server.statistics().repeated == 2
            assert server.statistics().received == 2

    simulate(scene())


def test_a_silent_partition_is_seen_after_down_after_and_heals() -> None:
    async def scene() -> None:
        network = MemoryNetwork(seed=2)
        loop = asyncio.get_running_loop()
        async with server_on(network) as server, worker_on(network) as worker:
            container = await worker.connect(uuid.uuid4(), await server.bind(ENDPOINT, insecure=True))
            events = worker.service().events()
            network.partition(ENDPOINT)
            began = loop.time()
            while not isinstance(await anext(events), LinkDown):
                pass
            assert 5 <= loop.time() - began <= 7
            with pytest.raises(RequestTimeout) as late:
                await container.request("lost", timeout=3.0)
            assert late.value.executed is Executed.NO
            network.heal(ENDPOINT)
            assert await container.request("found") == "found"

    simulate(scene())


def test_a_short_partition_loses_nothing() -> None:
    async def scene() -> None:
        network = MemoryNetwork(seed=3)
        async with server_on(network) as server, worker_on(network) as worker:
            container = await worker.connect(uuid.uuid4(), await server.bind(ENDPOINT, insecure=True))
            network.partition(ENDPOINT)
            calls = [asyncio.create_task(container.request(number)) for number in range(10)]
            await asyncio.sleep(3)
            network.heal(ENDPOINT)
            assert await asyncio.gather(*calls) == list(range(10))
            assert container.statistics().reconnects == 0

    simulate(scene())


@pytest.mark.parametrize("attempts", [0, 1, 3, 10])
def test_redials_are_counted_exactly(attempts: int) -> None:
    async def scene() -> None:
        network = MemoryNetwork(seed=attempts)
        async with server_on(network) as server, worker_on(network) as worker:
            worker.with_max_reconnect_attempts(attempts)
            container = await worker.connect(uuid.uuid4(), await server.bind(ENDPOINT, insecure=True))
            events = worker.service().events()
            await server.close()
            retries = []
            async for event in events:
                if isinstance(event, LinkRetry):
                    retries.append(event.attempt)
                if isinstance(event, LinkFailed):
                    assert event.attempts == attempts
                    break
            assert retries == list(range(1, attempts))
            assert container.state is LinkState.FAILED

    simulate(scene())


def test_only_the_first_redial_behind_a_greeted_connection_is_prompt() -> None:
    async def scene() -> None:
        network = MemoryNetwork(seed=4)
        loop = asyncio.get_running_loop()
        async with server_on(network) as server, worker_on(network) as worker:
            await worker.connect(uuid.uuid4(), await server.bind(ENDPOINT, insecure=True))
            events = worker.service().events()

            async def told(kind: type) -> float:
                while not isinstance(await anext(events), kind):
                    pass
                return loop.time()

            network.cut(ENDPOINT)
            lost = await told(LinkDown)
            assert await told(LinkUp) - lost < 0.1
            network.cut(ENDPOINT)  # it greets, and is lost at once
            lost = await told(LinkDown)
            assert 1.0 <= await told(LinkUp) - lost <= 2.1
            await asyncio.sleep(1.0)
            await server.close()
            lost = await told(LinkDown)
            first = await told(LinkRetry)
            assert first - lost < 0.1
            assert 1.0 <= await told(LinkRetry) - first <= 2.1

    simulate(scene())


def test_connect_errors() -> None:
    async def scene() -> None:
        network = MemoryNetwork()
        async with worker_on(network) as worker:
            with pytest.raises(ConnectRefused):
                await worker.connect(uuid.uuid4(), ENDPOINT)
            network.partition(ENDPOINT)
            with pytest.raises(ConnectTimeout):
                await worker.connect(uuid.uuid4(), ENDPOINT)
            assert worker.get_connected_containers() == []

    simulate(scene())


def test_many_requests_through_a_narrow_network_arrive_in_order() -> None:
    async def scene() -> None:
        network = MemoryNetwork(capacity=3, latency=0.01)
        async with server_on(network) as server, worker_on(network) as worker:
            container = await worker.connect(uuid.uuid4(), await server.bind(ENDPOINT, insecure=True))

            async def one(number: int) -> int:
                await asyncio.sleep(number * 0.001)
                answer: int = await container.request(number)
                return answer

            assert await asyncio.gather(*(one(number) for number in range(500))) == list(range(500))

    simulate(scene())


def test_a_scene_in_which_nothing_can_happen_ends() -> None:
    async def scene() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        simulate(scene())
