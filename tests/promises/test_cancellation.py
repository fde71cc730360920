"""Cancelling callers loses nobody else's reply."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import TYPE_CHECKING

from mpzmq import ComputerEngineWorker

if TYPE_CHECKING:
    from tests.support.container import Start


async def test_3_000_requests_cancelled_at_random_awaits_lose_no_other_reply(start: Start) -> None:
    dice = random.Random(20261123)
    async with ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        kept: list[tuple[int, asyncio.Task[int]]] = []
        doomed: list[tuple[int, asyncio.Task[int]]] = []

        async def passes(number: int) -> None:
            for _ in range(number):
                await asyncio.sleep(0)

        for number in range(3_000):
            slow = dice.random() < 0.3
            call = container.call("slow", 30.0 if slow else 0.0, number)
            doomed.append((number, asyncio.create_task(call)))
            kept.append((number, asyncio.create_task(container.call("count", 10_000 + number))))
            await passes(dice.randrange(3))
            index = dice.randrange(len(doomed))
            doomed[index][1].cancel()
        for _, task in doomed:
            task.cancel()
        outcomes = await asyncio.gather(*(task for _, task in doomed), return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError | int) for outcome in outcomes)
        assert await asyncio.gather(*(task for _, task in kept)) == [10_000 + number for number, _ in kept]
        counted = container.statistics()
        assert counted.in_flight == 0
        assert counted.issued == counted.replied + counted.cancelled
        assert counted.failed == 0
        # Every handler that was still waiting has been cancelled: nothing runs in the container any more.
        while await container.call("running"):
            pass
        started = [number for number in await container.call("seen") if number < 10_000]
        finished = {number for (number, _), outcome in zip(doomed, outcomes, strict=True) if isinstance(outcome, int)}
        assert finished <= set(started)
        assert len(started) == len(set(started))
        assert set(await container.call("was_cancelled")) <= set(started) - finished
