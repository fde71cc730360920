"""Members whose links take no more are full, too: who waits is told of room, whoever has made it."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ComputerEngineWorker, Endpoint, Executed, Group, GroupPolicy, Limits, MemberLeft, Overloaded
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import event_of, scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.group.conftest import Stage, Troupe


@contextlib.asynccontextmanager
async def narrow(troupe: Troupe, limits: Limits, policy: GroupPolicy | None = None) -> AsyncIterator[Group]:
    """A group of the same members, by links with other limits."""
    endpoints = [Endpoint(actor.endpoint, name=name) for name, actor in troupe.actors.items()]
    async with (
        ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK, limits=limits) as worker,
        worker.group(endpoints, policy=policy or GroupPolicy()) as group,
    ):
        await group.wait_ready(len(endpoints))
        yield group


def options(way: str, number: int) -> dict[str, Any]:
    given: dict[str, dict[str, Any]] = {"key": {"key": number}, "id": {"request_id": uuid.uuid4()}}
    return given.get(way, {})


@pytest.mark.parametrize("way", ["plain", "key", "id", "pick"])
async def test_more_than_links_take_waits_in_line(stage: Stage, way: str) -> None:
    policy = GroupPolicy(pick=lambda members, call: members[0]) if way == "pick" else None
    async with stage("abc") as troupe, narrow(troupe, Limits(in_flight=4), policy) as group:
        calls = [asyncio.create_task(group.options(**options(way, n)).call("doze", 0.001, n)) for n in range(300)]
        await asyncio.sleep(0)
        assert not group._state._changes.has_waiters, "who waits for any of them stands in line, and is woken in turn"
        assert len(await soon(asyncio.gather(*calls), scaled(30.0))) == 300
        assert troupe.ran == Counter(range(300))
        # Nobody has asked a member in vain, and nobody has looked at all of them whenever one had room.
        assert group.statistics().retried == 0


@pytest.mark.parametrize("way", ["plain", "key", "pick"])
@pytest.mark.parametrize("end", ["reply", "cancel"])
async def test_room_that_is_made_through_a_handle(stage: Stage, way: str, end: str) -> None:
    policy = GroupPolicy(pick=lambda members, call: members[0]) if way == "pick" else None
    async with stage("a") as troupe, narrow(troupe, Limits(in_flight=1), policy) as group:
        blocked = asyncio.create_task(group.handle("a").call("wait", "first"))
        await until(lambda: troupe["a"].ran)
        with pytest.raises(Overloaded, match=r"Limits\.in_flight") as caught:
            await group.call("who", "never", wait=False)
        assert caught.value.executed is Executed.NO
        view = group.options(key="k" if way == "key" else None, timeout=scaled(10.0))
        waiting = [asyncio.create_task(view.call("who", number)) for number in range(5)]
        await asyncio.sleep(0)
        if end == "reply":
            troupe["a"].gate.set()
        else:
            blocked.cancel()
        assert await soon(asyncio.gather(*waiting), scaled(5.0)) == ["a"] * 5
        assert group.statistics().retried == 0
        await asyncio.wait((blocked,))
        troupe["a"].gate.set()


async def test_room_for_something_large(stage: Stage) -> None:
    """A link has room for small requests, and none for a large one: that goes to another member, or waits."""
    async with stage("a") as troupe, narrow(troupe, Limits(queued_bytes=100_000, in_flight=100)) as group:
        sizes = [60_000] * 12
        answers = await soon(asyncio.gather(*(group.call("who", bytes(size)) for size in sizes)))
        assert answers == ["a"] * 12


async def test_no_room_here_is_no_fault_of_a_member(stage: Stage) -> None:
    policy, limits = GroupPolicy(eject_errors=1), Limits(queued_bytes=100_000, in_flight=100)
    async with stage("abc") as troupe, narrow(troupe, limits, policy) as group:
        await soon(asyncio.gather(*(group.call("who", bytes(60_000)) for _ in range(12))))
        assert (await group.call_all("who", bytes(60_000))).errors == {}
        assert group.statistics().ejections == 0


async def test_a_member_leaves_behind_what_was_cancelled_on_its_handle(stage: Stage) -> None:
    async with stage("ab") as troupe:
        task = asyncio.create_task(troupe.group.handle("a").call("wait", 1))
        await until(lambda: troupe["a"].ran)
        events = troupe.group.events()
        troupe.members.remove("a")
        await event_of(events, MemberLeft)
        assert len(troupe.worker._connections) == 2
        task.cancel()
        await until(lambda: len(troupe.worker._connections) == 1)
        troupe["a"].gate.set()
