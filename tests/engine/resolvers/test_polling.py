"""The pause between two look-ups: cut short when a member is lost, though never to nothing."""

from __future__ import annotations

import asyncio

from mpzmq.engine.resolvers.polling import MIN_PAUSE, Alarm
from tests.support.waiting import soon


async def test_many_reasons_at_once_are_one() -> None:
    alarm, loop = Alarm(), asyncio.get_running_loop()
    for _ in range(2):
        alarm.ring()
        began = loop.time()
        waiting = asyncio.create_task(alarm.wait(1_000_000.0))
        await asyncio.sleep(0)
        alarm.ring()
        await soon(waiting)
        assert loop.time() - began > 0.9 * MIN_PAUSE  # a clock may be coarse


async def test_a_reason_during_the_pause_ends_it() -> None:
    alarm = Alarm()
    waiting = asyncio.create_task(alarm.wait(1_000_000.0))
    await asyncio.sleep(1.2 * MIN_PAUSE)
    assert not waiting.done()
    alarm.ring()
    await soon(waiting)
