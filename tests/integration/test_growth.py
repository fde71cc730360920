"""What must not cost more for each the more of them there are: counted in calls of functions, in virtual time."""

from __future__ import annotations

import asyncio
import sys
import uuid
from typing import TYPE_CHECKING, Any

from mpzmq import ComputerEngineWorker, ContainerServer, Limits, LinkState
from mpzmq.testing.simnet.network import MemoryNetwork, VirtualClockLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

WHERE = "tcp://127.0.0.1:3010"

ELSEWHERE = "tcp://127.0.0.1:3011"

FEW, MANY = 32, 256


class Cost:
    """Counts calls of functions, Python's and those in C.

    Args:
        passes: whether passes of the event loop are counted, too; the clock then stands still.
    """

    def __init__(self, *, passes: bool = False) -> None:
        self.calls = self.passes = 0
        self._counts_passes = passes

    def __enter__(self) -> Cost:
        self._pass()
        self._before = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)
        self._counts_passes = False

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls += event in ("call", "c_call")

    def _pass(self) -> None:
        if self._counts_passes:
            self.passes += 1
            asyncio.get_running_loop().call_soon(self._pass)


def run(scene: Coroutine[Any, Any, Cost]) -> Cost:
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(scene)


async def closing(links: int) -> Cost:
    """What it costs to close a worker with so many links."""
    network = MemoryNetwork(1)
    server = ContainerServer()
    server._transport = network
    worker = ComputerEngineWorker()
    worker._transport = network.host()
    async with server:
        await server.bind(WHERE)
        async with worker:
            await asyncio.gather(*(worker.connect(uuid.uuid4(), WHERE) for _ in range(links)))
            with Cost(passes=True) as cost:
                await worker.close()
            assert worker.statistics().in_flight == 0
    return cost


async def asking(links: int, sessions: int) -> Cost:
    """What some calls cost beside so many links of their worker, and sessions of their container, that do nothing."""
    network = MemoryNetwork(1)
    server = ContainerServer(limits=Limits(total_bytes=1 << 20))
    server._transport = network
    server.on_invoke(lambda data: data)
    async with server, ComputerEngineWorker() as worker, ComputerEngineWorker() as others:
        await server.bind(WHERE)
        for one in (worker, others):
            one._transport = network.host()
        handle = await worker.connect(uuid.uuid4(), WHERE)
        await asyncio.gather(*(worker.connect(uuid.uuid4(), ELSEWHERE, wait=False) for _ in range(links)))
        await asyncio.gather(*(others.connect(uuid.uuid4(), WHERE) for _ in range(sessions)))
        with Cost() as cost:
            for number in range(20):
                assert await handle.request(number) == number
    return cost


def test_a_call_costs_the_same_beside_many_links_and_sessions() -> None:
    alone, among = run(asking(2, 2)), run(asking(64, 64))
    assert among.calls < 1.2 * alone.calls


def test_closing_a_worker() -> None:
    few, many = run(closing(FEW)), run(closing(MANY))
    assert many.calls / MANY < 1.3 * few.calls / FEW, "each end of a link summed up the counters of all"


def test_a_worker_that_closes_lets_the_event_loop_breathe() -> None:
    assert run(closing(MANY)).passes >= MANY // 16


def test_a_close_that_is_cancelled_in_the_middle_leaves_no_link() -> None:
    """As it is when the event loop ends before it."""

    async def scene() -> list[LinkState]:
        network = MemoryNetwork(1)
        worker = ComputerEngineWorker()
        worker._transport = network.host()
        await worker.__aenter__()
        handles = [await worker.connect(uuid.uuid4(), WHERE, wait=False) for _ in range(FEW + 1)]
        closing = asyncio.create_task(worker.close())
        async for _ in worker.service().events(handles[0].remote_id):
            if handles[0].state is LinkState.CLOSED:
                break
        assert worker._lifecycle._closing is not None and handles[-1].state is LinkState.CONNECTING
        worker._lifecycle._closing.cancel()
        await asyncio.wait([closing])
        return [handle.state for handle in handles]

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        assert set(runner.run(scene())) == {LinkState.CLOSED}
