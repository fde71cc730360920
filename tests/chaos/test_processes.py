"""Containers that are killed, frozen, restarted, blocked or drained with requests under way."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from mpzmq import LinkBusy, LinkDown, LinkUp, ReconnectPolicy
from mpzmq.testing import ServedProcess
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import scaled

from .engine import Job
from .history import described
from .place import container_process
from .stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    import pytest

    from .history import Request

IN_TIME = QUICK.down_after + QUICK.interval + scaled(1.0)
"""Promise 5, with a second for a machine that has other things to do."""

SECONDS = scaled(15.0)
MEBIBYTE = 1 << 20


def slow(seconds: float) -> Job:
    return Job("slow", (seconds, "slow"), "slow")


async def soon(awaitable: Awaitable[Request]) -> Request:
    return await asyncio.wait_for(awaitable, SECONDS)


async def started(stage: Stage) -> None:
    """What was asked before has reached the container: requests start in the order in which they are issued."""
    assert (await soon(stage.ask("here"))).outcome == "replied"


async def test_kill_and_restart(tmp_path: Path) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        first = stage.container.instance
        sent = [stage.ask(slow(20)) for _ in range(3)]
        endless = stage.ask(slow(20), timeout=None)
        again = [stage.ask(slow(0.5), idempotent=True) for _ in range(3)]
        await started(stage)
        killed = time.monotonic()
        stage.process.kill()
        await stage.watch.wait_for(stage.container.remote_id, LinkDown, killed, IN_TIME)
        waiting = stage.ask("not sent yet")
        await asyncio.sleep(0.2)
        # A loss is no end: only its sequel decides.
        assert not any(task.done() for task in (*sent, endless, *again, waiting))
        await stage.process.restart()
        for task in (*sent, endless):
            lost = await soon(task)
            assert (lost.error, lost.instance_changed) == ("ConnectionLost", True)
            assert lost.executed in ("UNKNOWN", "YES")
        for task in (*again, waiting):
            assert (await soon(task)).outcome == "replied"
        assert stage.container.instance != first
    assert not stage.violations, described(stage.violations)


async def test_killed_again_and_again(tmp_path: Path) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        for _ in range(4):
            tasks = [stage.ask(slow(0.05 * number), idempotent=number % 2 == 0) for number in range(10)]
            await asyncio.sleep(0.1)
            stage.process.kill()
            await stage.process.wait()
            await stage.process.restart()
            for task in tasks:
                ended = await soon(task)
                assert ended.outcome == "replied" or not ended.idempotent
    assert not stage.violations, described(stage.violations)


async def test_killed_for_good(tmp_path: Path) -> None:
    reconnect = ReconnectPolicy(interval=0.05, connect_timeout=scaled(1.0), max_attempts=3)
    async with Stage(tmp_path, QUICK, reconnect) as stage:
        sent = [stage.ask(slow(20), idempotent=idempotent, timeout=None) for idempotent in (False, True)]
        await started(stage)
        await stage.proxy.cut()
        stage.process.kill()
        for task in sent:
            assert (await soon(task)).error == "ConnectionLost"
    assert not stage.violations, described(stage.violations)


async def test_frozen(tmp_path: Path) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        remote_id, instance = stage.container.remote_id, stage.container.instance
        sent = [stage.ask(slow(0.5), idempotent=number % 2 == 0) for number in range(6)]
        await started(stage)
        began = time.monotonic()
        stage.process.send_signal(signal.SIGSTOP)
        sent += [stage.ask("into the void", idempotent=number % 2 == 0) for number in range(6)]
        down = await stage.watch.wait_for(remote_id, LinkDown, began, SECONDS)
        assert down - began < IN_TIME
        stage.process.send_signal(signal.SIGCONT)
        for task in sent:
            assert (await soon(task)).outcome == "replied"
        assert stage.container.instance == instance
    assert not stage.violations, described(stage.violations)


async def test_frozen_behind_64_mebibytes(tmp_path: Path) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        began = time.monotonic()
        stage.process.send_signal(signal.SIGSTOP)
        size = 16 * MEBIBYTE - 1024
        sent = [stage.ask(Job("swallow", (bytes(size),), size)) for _ in range(4)]
        down = await stage.watch.wait_for(stage.container.remote_id, LinkDown, began, SECONDS)
        assert down - began < IN_TIME
        stage.process.send_signal(signal.SIGCONT)
        for task in sent:
            assert (await soon(task)).outcome == "replied"
    assert not stage.violations, described(stage.violations)


async def test_blocked_is_not_dead(tmp_path: Path) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        remote_id = stage.container.remote_id
        began = time.monotonic()
        blocked = stage.ask(Job("block", (3 * QUICK.down_after,)))
        behind = [stage.ask(f"{number}") for number in range(5)]
        await stage.watch.wait_for(remote_id, LinkBusy, began, SECONDS)
        for task in (blocked, *behind):
            assert (await soon(task)).outcome == "replied"
        assert stage.watch.first(remote_id, LinkDown, began) is None
    assert not stage.violations, described(stage.violations)


async def test_drained_and_restarted(tmp_path: Path) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        sent = [stage.ask(slow(0.4)) for _ in range(20)]
        await started(stage)
        stage.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        later = [stage.ask("for the successor") for _ in range(5)]
        assert await stage.process.wait() == 0
        await stage.process.restart()
        for task in (*sent, *later):
            assert (await soon(task)).outcome == "replied"
    assert not stage.violations, described(stage.violations)


async def test_a_successor_at_another_address_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup, now = socket.getaddrinfo, "127.0.0.1"

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        return lookup(now if host == "container.test" else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with Stage(tmp_path, QUICK, REDIAL, name="container.test") as stage:
        first = stage.container.instance
        sent = stage.ask(slow(0.5), idempotent=True)
        await started(stage)
        port = stage.process.endpoint.rpartition(":")[2]
        # The books of both are one.
        process = container_process(tmp_path / "container", QUICK, endpoint=f"tcp://127.0.0.2:{port}")
        successor = ServedProcess(process)
        try:
            await asyncio.to_thread(process.start)
            killed = time.monotonic()
            stage.process.kill()
            await stage.watch.wait_for(stage.container.remote_id, LinkDown, killed, IN_TIME)
            waiting = stage.ask("waits")
            await asyncio.sleep(0.2)
            now = "127.0.0.2"
            await stage.watch.wait_for(stage.container.remote_id, LinkUp, killed, SECONDS)
            assert stage.container.instance != first
            for task in (sent, waiting):
                assert (await soon(task)).outcome == "replied"
        finally:
            await stage.worker.close()
            await successor.close()
    assert not stage.violations, described(stage.violations)
