"""What a container does when one of its engines is gone: real processes, real kills."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, ContainerServer, HeartbeatPolicy, Security
from tests.support.engine import EngineProcess
from tests.support.scene import QUICK, REDIAL
from tests.support.secured import CONTAINER, ENGINE
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from pathlib import Path

    from mpzmq.testing import ProxyFactory

PATIENT = HeartbeatPolicy(interval=60.0, down_after=150.0)
"""With which nobody who is silent is missed within a test."""


def sessions(server: ContainerServer) -> int:
    return server.statistics().sessions


@pytest.mark.parametrize("way", ["tcp", "curve", "ipc"])
async def test_an_engine_that_is_killed_is_missed_at_once(way: str, tmp_path: Path) -> None:
    (tmp_path / "engine.pub").write_text(f'public-key = "{ENGINE.public}"\n')
    security = Security.server(CONTAINER, allow=tmp_path) if way == "curve" else None
    keys = (ENGINE, CONTAINER) if way == "curve" else None
    endpoint = f"ipc://{tmp_path}/s" if way == "ipc" else "tcp://127.0.0.1:0"
    async with ContainerServer(heartbeat=PATIENT, security=security) as server:
        bound = await server.bind(endpoint)
        with EngineProcess(bound, keys=keys) as engine:
            await until(lambda: sessions(server) == 1)
            await asyncio.to_thread(engine.kill)
            await until(lambda: sessions(server) == 0)


async def test_descriptors_that_are_reused_detach_nobody_who_is_there(mpzmq_proxy: ProxyFactory) -> None:
    """Connections come and go while one stays: their descriptors are the same few, and only the dead are missed."""
    async with ContainerServer(heartbeat=PATIENT) as server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        proxy = await mpzmq_proxy(endpoint)
        server.function(len)
        stays = await worker.connect(uuid.uuid4(), endpoint)
        comes = await worker.connect(uuid.uuid4(), proxy.endpoint)
        for _ in range(20):
            await proxy.reset()
            assert await soon(comes.call("len", "back")) == 4
            assert sessions(server) == 2
        assert stays.statistics().reconnects == 0
        await proxy.cut()
        await until(lambda: sessions(server) == 1)
        assert await soon(stays.call("len", "x")) == 1


async def test_a_drain_does_not_wait_for_an_engine_that_has_crashed() -> None:
    """It has not acknowledged its reply, and will not."""
    async with ContainerServer(heartbeat=QUICK) as server:
        server.function(lambda: 0, name="zero")
        with EngineProcess(await server.bind("tcp://127.0.0.1:0"), "call zero") as engine:
            await until(lambda: server.statistics().replied == 1)
            await asyncio.to_thread(engine.kill)
        await until(lambda: sessions(server) == 0)
        await soon(server.drain(600.0))
        assert server.statistics().undeliverable == 0, "it is kept, until the server closes"


async def test_a_drain_waits_for_handlers_of_engines_that_are_away() -> None:
    async with ContainerServer(heartbeat=QUICK) as server:
        begun, turn = asyncio.Event(), asyncio.Event()

        @server.function
        async def slow() -> None:
            begun.set()
            await turn.wait()

        with EngineProcess(await server.bind("tcp://127.0.0.1:0"), "call slow") as engine:
            await soon(begun.wait())
            await asyncio.to_thread(engine.kill)
        await until(lambda: sessions(server) == 0)
        draining = asyncio.create_task(server.drain(60.0))
        await asyncio.sleep(2 * QUICK.down_after)
        assert not draining.done() and server.statistics().in_flight == 1
        turn.set()
        await soon(draining)
        assert server.statistics().replied == 1
