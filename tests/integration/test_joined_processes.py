"""Containers that dial in from processes of their own: killed, frozen, blocked, drained and restarted; and floods."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ConnectionLost,
    ContainerDraining,
    Executed,
    GroupPolicy,
    LinkBusy,
    LinkDown,
    MemberJoined,
    MemberLeft,
)
from tests.chaos.memory import resident_bytes
from tests.support.joining import ROOT, TOKEN, joining_process
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import event_of, scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq.engine.joined_group import JoinedGroup

PATIENT = GroupPolicy(lost_after=None)
START = scaled(30.0)


@contextlib.asynccontextmanager
async def lobby(endpoint: str = "tcp://127.0.0.1:0", policy: GroupPolicy = PATIENT) -> AsyncIterator[JoinedGroup]:
    """Where containers may join."""
    async with (
        ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker,
        worker.accept(endpoint, tokens=TOKEN, policy=policy) as group,
    ):
        yield group
        assert adds_up(worker.service().statistics())


async def test_a_successor_takes_the_place_of_one_that_was_killed() -> None:
    async with lobby() as group:
        events = group.events()
        with joining_process(group.endpoint, "a") as first:
            await group.wait_ready(timeout=START)
            lost = asyncio.ensure_future(group.call("slow", 60.0, timeout=None))
            await until_running(group)
            first.kill()
            began = time.monotonic()
            await event_of(events, LinkDown)
            assert time.monotonic() - began < QUICK.down_after
            kept = asyncio.ensure_future(group.call("count", 7, timeout=START))  # it has not left, so it waits
            with joining_process(group.endpoint, "a"):
                left = await event_of(events, MemberLeft, START)
                assert "another process" in left.reason
                assert (await event_of(events, MemberJoined)).name == "a"
                with pytest.raises(ConnectionLost) as gone:
                    await soon(lost)
                assert gone.value.executed in (Executed.UNKNOWN, Executed.YES)
                assert await soon(kept, START) == 7
                assert [member.name for member in group.members] == ["a"]


async def until_running(group: JoinedGroup, number: int = 1) -> None:
    """Until so many requests run in the container."""
    async with asyncio.timeout(START):
        while await group.call("running") < number:  # noqa: ASYNC110  (another process sets no event)
            await asyncio.sleep(0.01)


async def test_the_engine_is_restarted() -> None:
    async with lobby() as group:
        endpoint = group.endpoint
        with joining_process(endpoint) as process:
            await group.wait_ready(timeout=START)
            assert await group.call("count", 1) == 1
            pid = await group.call("pid")
            assert pid == process.pid
            await group.close()
            async with lobby(endpoint) as successor:
                await successor.wait_ready(timeout=START)
                assert await successor.call("pid") == pid
                assert await successor.call("seen") == [1]


async def test_a_blocked_container_is_busy_and_not_down() -> None:
    async with lobby() as group:
        with joining_process(group.endpoint):
            await group.wait_ready(timeout=START)
            events = group.events()
            blocked = asyncio.ensure_future(group.call("block", 3 * QUICK.down_after))
            await event_of(events, LinkBusy)
            behind = asyncio.ensure_future(group.call("count", 1))
            assert await soon(blocked) == "done"
            assert await soon(behind) == 1
            await group.close()  # which ends its events
            assert not [event async for event in events if isinstance(event, LinkDown)]


async def test_a_frozen_container_is_down_in_time_and_comes_back() -> None:
    async with lobby() as group:
        with joining_process(group.endpoint) as process:
            await group.wait_ready(timeout=START)
            events = group.events()
            sent = [asyncio.ensure_future(group.call("slow", 0.5, number)) for number in range(10)]
            await until_running(group, 10)
            process.send_signal(signal.SIGSTOP)
            try:
                began = time.monotonic()
                await event_of(events, LinkDown)
                assert time.monotonic() - began < QUICK.down_after + QUICK.interval + scaled(1.0)
            finally:
                process.send_signal(signal.SIGCONT)
            assert await soon(asyncio.gather(*sent)) == list(range(10))
            assert sorted(await group.call("seen")) == list(range(10))


async def test_a_drain_beside_a_second_member_loses_no_call() -> None:
    async with lobby() as group:
        with joining_process(group.endpoint, "a") as first, joining_process(group.endpoint, "b"):
            await group.wait_ready(2, timeout=START)
            done = failed = 0
            stopped = False

            async def caller() -> None:
                nonlocal done, failed
                while not stopped:
                    try:
                        await group.call("slow", 0.01, 1)
                        done += 1
                    except (ConnectionLost, ContainerDraining):
                        failed += 1

            callers = [asyncio.ensure_future(caller()) for _ in range(20)]
            await until(lambda: done > 100, START)
            events = group.events()
            first.terminate()
            left_at = await asyncio.to_thread(first.wait, START)
            await event_of(events, LinkDown)
            before = done
            await until(lambda: done > before + 100, START)
            stopped = True
            await soon(asyncio.gather(*callers), START)
            assert (left_at, failed) == (0, 0)


async def test_a_caller_is_not_left_to_its_deadline_by_a_process_that_was_killed() -> None:
    async with lobby(policy=GroupPolicy(lost_after=scaled(0.3))) as group:
        with joining_process(group.endpoint) as process:
            await group.wait_ready(timeout=START)
            sent = asyncio.ensure_future(group.call("slow", 60.0, timeout=None))
            await until_running(group)
            process.kill()
            with pytest.raises(ConnectionLost):
                await soon(sent)


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_a_flood_of_wrong_joins_leaves_who_has_joined_unmoved(caplog: pytest.LogCaptureFixture) -> None:
    async with lobby() as group:
        with joining_process(group.endpoint) as process:
            await group.wait_ready(timeout=START)
            events = group.events()
            assert await group.call("count", 0) == 0
            descriptors, memory = len(os.listdir("/dev/fd")), 0
            address = group.endpoint.removeprefix("tcp://").split(":")
            command = [sys.executable, "-m", "tests.support.join_flood", *address, "1000", "3"]
            with _started(command) as flood:
                assert flood.stdout is not None
                assert await asyncio.to_thread(flood.stdout.readline) == "begins\n"
                reading = asyncio.ensure_future(asyncio.to_thread(flood.stdout.readline))
                answered = 0
                while not reading.done():
                    assert await soon(group.call("count", answered)) == answered
                    answered += 1
                    if not memory and group._lobby.refused.get("its token is wrong", 0) > 200:
                        memory = resident_bytes()
                sent = int(reading.result())
            refused = group._lobby.refused
            assert refused.get("its token is wrong", 0) > 500, (refused, sent)
            assert answered > 50
            assert await group.call("pid") == process.pid
            await until(lambda: len(os.listdir("/dev/fd")) <= descriptors + 1)
            assert resident_bytes() - memory < 20 << 20
            assert len([record for record in caplog.records if record.name == "mpzmq.engine.lobby"]) < 10
            await group.close()  # which ends its events
            assert not [event async for event in events if isinstance(event, LinkDown | MemberLeft)]
