"""What opens something, awaited or entered: once, with an end, and never by itself."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Coroutine
from typing import Any

import pytest

from mpzmq.runtime.opening import Opening


class Door:
    """Writes down what is done with it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.seen: list[str] = []
        self._error = error

    def opening(self) -> Opening[Door]:
        return Opening(self._open(), self._close, "Door.opening")

    async def _open(self) -> Door:
        self.seen.append("opens")
        try:
            await asyncio.sleep(0.01)
            if self._error is not None:
                raise self._error
        except BaseException as error:
            self.seen.append(type(error).__name__)
            raise
        self.seen.append("open")
        return self

    async def _close(self, door: Door) -> None:
        assert door is self
        self.seen.append("closed")


async def test_it_is_awaited() -> None:
    door = Door()
    assert await door.opening() is door
    assert door.seen == ["opens", "open"]


async def test_it_is_entered_and_left() -> None:
    door = Door()
    async with door.opening() as opened:
        assert opened is door
        assert door.seen == ["opens", "open"]
    assert door.seen == ["opens", "open", "closed"]


async def test_it_is_closed_whatever_ends_the_block() -> None:
    door = Door()
    with pytest.raises(KeyError):
        async with door.opening():
            raise KeyError
    assert door.seen[-1] == "closed"


@pytest.mark.parametrize("entered", [True, False])
async def test_what_cannot_be_opened_is_not_closed(entered: bool) -> None:
    door = Door(OSError())
    with pytest.raises(OSError):
        if entered:
            async with door.opening():
                pytest.fail("it is not open")
        else:
            await door.opening()
    assert door.seen == ["opens", "OSError"]


async def test_who_is_cancelled_while_it_opens_leaves_nothing() -> None:
    door = Door()

    async def enter() -> None:
        async with door.opening():
            pytest.fail("it is not open")

    task = asyncio.create_task(enter())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert door.seen == ["opens", "CancelledError"]


async def test_who_is_cancelled_inside_closes_it() -> None:
    door = Door()
    inside = asyncio.Event()

    async def enter() -> None:
        async with door.opening():
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(enter())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert door.seen == ["opens", "open", "closed"]


async def test_it_is_a_coroutine_for_whoever_wants_one() -> None:
    door = Door()
    opening = door.opening()
    assert isinstance(opening, Coroutine) and asyncio.iscoroutine(opening)
    task = asyncio.create_task(opening)
    assert "Door.opening" in repr(task)
    assert await task is door
    assert await asyncio.gather(Door().opening(), Door().opening())
    assert await asyncio.wait_for(Door().opening(), 5)
    async with asyncio.TaskGroup() as group:
        group.create_task(Door().opening())


async def test_a_task_of_it_is_cancelled() -> None:
    door = Door()
    task = asyncio.create_task(door.opening())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert door.seen == ["opens", "CancelledError"]


def test_it_is_run() -> None:
    door = Door()
    assert asyncio.run(door.opening()) is door


@pytest.mark.parametrize("again", ["await", "enter"])
async def test_it_opens_once(again: str) -> None:
    opening = Door().opening()
    await opening
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        if again == "await":
            await opening
        else:
            await opening.__aenter__()


def test_one_that_is_never_awaited_opens_nothing_and_is_warned_about() -> None:
    door = Door()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        door.opening()
        gc.collect()
    assert [(one.category, str(one.message)) for one in told] == [
        (RuntimeWarning, "coroutine 'Door.opening' was never awaited")
    ]
    assert door.seen == []


def test_one_that_is_given_up_is_not_warned_about() -> None:
    door = Door()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opening: Coroutine[Any, Any, Door] = door.opening()
        opening.close()
        del opening
        gc.collect()
    assert door.seen == []
