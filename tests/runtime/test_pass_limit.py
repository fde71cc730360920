"""So much in one pass of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter

from mpzmq import ComputerEngineWorker
from mpzmq.runtime.pass_limit import PassLimit
from tests.support.waiting import soon


async def _passes(count: int, limit: PassLimit) -> tuple[list[int], Counter[int]]:
    """The order in which so many callers had their turns, and how many had one in each pass."""
    loop, now, order, turns = asyncio.get_running_loop(), 0, list[int](), Counter[int]()

    def next_pass() -> None:
        nonlocal now
        now += 1
        if len(order) < count:
            loop.call_soon(next_pass)

    async def caller(number: int) -> None:
        await limit.turn()
        order.append(number)
        turns[now] += 1

    loop.call_soon(next_pass)
    await soon(asyncio.gather(*(caller(number) for number in range(count))))
    return order, turns


async def test_so_many_in_each_pass_in_order() -> None:
    limit = PassLimit(3)
    for _ in range(2):
        order, turns = await _passes(20, limit)
        assert order == list(range(20))
        assert max(turns.values()) == 3 and len(turns) == 7


async def test_who_is_cancelled_takes_no_turn() -> None:
    limit = PassLimit(1)
    tasks = [asyncio.create_task(limit.turn()) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await soon(asyncio.gather(*tasks, return_exceptions=True))
    assert [task.cancelled() for task in tasks] == [False, True, False, False]
    await soon(limit.turn())


async def test_connections_that_are_asked_for_together_begin_in_slices() -> None:
    known: list[int] = []
    async with ComputerEngineWorker() as worker:

        async def connect() -> None:
            await worker.connect("tcp://127.0.0.1:1", wait=False)

        tasks = [asyncio.create_task(connect()) for _ in range(100)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            known.append(len(worker.containers()))
        assert known[-1] == 100
        assert max(after - before for before, after in zip([0, *known], known, strict=False)) <= 16
