"""Busy is not dead, and dead is seen."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
import uuid
from typing import TYPE_CHECKING

from mpzmq import ComputerEngineWorker, HeartbeatPolicy, LinkBusy, LinkDown, LinkState, LinkUp, ReconnectPolicy
from tests.support.waiting import SECONDS, scaled

if TYPE_CHECKING:
    from tests.support.container import Start

log = logging.getLogger(__name__)

QUICK = HeartbeatPolicy(interval=scaled(0.4), down_after=scaled(1.0))


async def test_a_container_whose_loop_is_blocked_for_4_seconds_is_busy_and_never_down(start: Start) -> None:
    async with ComputerEngineWorker(heartbeat=QUICK) as worker:
        blocked = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        other = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        events = worker.service().events(blocked.remote_id)
        call = asyncio.create_task(blocked.call("block", scaled(4.0)))
        meanwhile = 0
        while not call.done():
            assert await other.call("count", meanwhile, timeout=scaled(1.0)) == meanwhile
            meanwhile += 1
            await asyncio.wait([call], timeout=0.01)
            assert blocked.state in (LinkState.ALIVE, LinkState.BUSY)
        assert await call == "done"
        assert meanwhile > 50
        assert blocked.state is LinkState.ALIVE
        assert [type(await anext(events)) for _ in range(2)] == [LinkBusy, LinkUp]


async def test_10_000_lone_requests_to_a_blocked_container_are_all_answered(start: Start) -> None:
    async with ComputerEngineWorker(heartbeat=QUICK) as worker:
        container = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        down: list[object] = []

        async def listen() -> None:
            down.extend([event async for event in worker.service().events() if isinstance(event, LinkDown)])

        listener = asyncio.create_task(listen())
        events = worker.service().events()  # before the block: on a slow machine it is BUSY before the last is issued
        block = asyncio.create_task(container.call("block", scaled(4.0)))
        await asyncio.sleep(0)
        calls = []
        for number in range(10_000):
            # Lone requests: each is issued in a pass of the event loop of its own.
            calls.append(asyncio.create_task(container.call("count", number)))
            await asyncio.sleep(0)
        while not isinstance(await anext(events), LinkBusy):
            pass
        assert not block.done()
        assert await asyncio.gather(*calls) == list(range(10_000))
        assert await container.call("seen") == list(range(10_000))  # promise 11: in the order of issue
        assert container.state is LinkState.ALIVE
        await worker.close()
        await listener
        assert not down


async def test_a_frozen_container_with_64_MiB_queued_towards_it_is_down_in_time(start: Start) -> None:
    async with ComputerEngineWorker(heartbeat=QUICK, reconnect=ReconnectPolicy(interval=0.2)) as worker:
        process = await start()
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        events = worker.service().events()
        process.send_signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        piece = bytes(32 * 1024 * 1024 - 1000)
        calls = [asyncio.create_task(container.request(piece)) for _ in range(2)]
        async for event in events:
            if isinstance(event, LinkDown):
                break
        assert not any(call.done() for call in calls), "it may be back, and has to be asked again"
        took = time.monotonic() - frozen_at
        log.info("DOWN after %.2f s; promised: %.1f s", took, QUICK.down_after + QUICK.interval)
        process.send_signal(signal.SIGCONT)
        await container.wait_ready(SECONDS)
        assert await container.request("again") == "again"
        assert [len(answer) for answer in await asyncio.gather(*calls)] == [len(piece)] * 2
