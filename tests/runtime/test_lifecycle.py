"""From the first await of something to the end of its close, and once more."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from mpzmq.runtime.lifecycle import Lifecycle


class Thing:
    """Closes when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.life = Lifecycle("thing")
        self.closes = 0
        self.let = asyncio.Event()
        self._error = error

    async def close(self) -> None:
        await self.life.close(self._close)

    async def _close(self) -> None:
        self.life.is_closed = True
        self.closes += 1
        await self.let.wait()
        if self._error is not None:
            raise self._error


async def test_what_was_never_used_is_closed_at_once() -> None:
    thing = Thing()
    await thing.close()
    assert thing.life.is_closed and thing.closes == 0


async def test_all_who_close_join_one_close_and_it_outlives_them() -> None:
    thing = Thing()
    await thing.life.enter()
    ended = thing.life.ended()
    closing = [asyncio.create_task(thing.close()) for _ in range(3)]
    await asyncio.sleep(0)
    assert thing.life.is_ending and thing.closes == 0, "it has not begun yet"
    closing[0].cancel()
    await asyncio.wait(closing[:1])
    thing.let.set()
    await asyncio.gather(*closing[1:])
    assert thing.closes == 1 and ended.done() and not thing.life.loop_bound.is_taken
    await thing.life.enter()
    assert not thing.life.is_ending
    await thing.close()
    assert thing.closes == 2


async def test_who_enters_waits_for_a_close_that_is_under_way() -> None:
    thing = Thing()
    await thing.life.enter()
    closing = asyncio.create_task(thing.close())
    await asyncio.sleep(0)
    entering = asyncio.create_task(thing.life.enter())
    await asyncio.sleep(0)
    assert not entering.done()
    thing.let.set()
    await asyncio.gather(closing, entering)
    assert not thing.life.is_closed and thing.life.loop_bound.is_taken
    await thing.close()


async def test_an_error_of_the_close_is_for_all_who_wait_for_the_end() -> None:
    thing = Thing(LookupError("broken"))
    await thing.life.enter()
    ended = thing.life.ended()
    thing.let.set()
    for waiting in (thing.close(), ended):
        with pytest.raises(LookupError, match="broken"):
            await waiting
    assert not thing.life.loop_bound.is_taken


async def test_an_error_for_which_nobody_waits_is_not_complained_of() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    thing = Thing(LookupError("broken"))
    await thing.life.enter()
    thing.let.set()
    await asyncio.wait([thing.life.begin_close(thing._close)])
    gc.collect()
    await asyncio.sleep(0)
    assert told == []
