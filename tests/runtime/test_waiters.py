"""Callers that wait for a change."""

from __future__ import annotations

import asyncio

import pytest

from mpzmq.runtime.waiters import ChangeNotifier


async def waiting(changes: ChangeNotifier) -> asyncio.Task[None]:
    """A task that waits."""
    task = asyncio.create_task(changes.wait())
    await asyncio.sleep(0)
    assert changes.has_waiters
    return task


async def test_all_who_wait_go_on_at_once() -> None:
    changes = ChangeNotifier(asyncio.get_running_loop())
    tasks = [await waiting(changes) for _ in range(3)]
    changes.notify_all()
    await asyncio.gather(*tasks)
    assert not changes.has_waiters


async def test_who_waits_no_more_is_forgotten() -> None:
    changes = ChangeNotifier(asyncio.get_running_loop())
    stays, leaves = await waiting(changes), await waiting(changes)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    assert changes.has_waiters
    changes.notify_all()
    await stays
    assert not changes.has_waiters


async def test_a_change_in_the_moment_of_a_cancellation() -> None:
    changes = ChangeNotifier(asyncio.get_running_loop())
    task = await waiting(changes)
    task.cancel()
    changes.notify_all()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not changes.has_waiters
