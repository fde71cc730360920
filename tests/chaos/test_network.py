"""A network that is bad without being down, peers that do not read, and a drain that nobody follows."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgpack
import pytest
import zmq

from mpzmq import (
    ComputerEngineWorker,
    ConnectError,
    ContainerServer,
    Executed,
    HeartbeatPolicy,
    Limits,
    LinkDown,
    LinkState,
    NotConnected,
    RequestError,
    RequestTimeout,
)
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Code, Kind, Op
from mpzmq.testing import Proxy
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import scaled

from .engine import Job
from .faults import SIDES
from .history import described
from .place import ROOT
from .stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from mpzmq.testing.proxy import Side

IN_TIME = QUICK.down_after + QUICK.interval + scaled(1.0)
SECONDS = scaled(15.0)
LINK_TAG = bytes(16)


async def until(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  (what is waited for sets no event)
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("keep", SIDES)
async def test_one_side_does_not_know_of_a_loss(tmp_path: Path, keep: Side) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        sent = [stage.ask(Job("slow", (0.5, number), number)) for number in range(10)]
        assert (await stage.ask("here")).outcome == "replied"
        began = time.monotonic()
        stage.proxy.half_open(keep=keep)
        down = await stage.watch.wait_for(stage.container.remote_id, LinkDown, began, SECONDS)
        assert down - began < IN_TIME
        for task in (*sent, stage.ask("after")):
            assert (await asyncio.wait_for(task, SECONDS)).outcome == "replied"
    assert not stage.violations, described(stage.violations)


async def test_frozen_for_a_moment(tmp_path: Path) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        sent = [stage.ask(Job("slow", (0.2, number), number)) for number in range(5)]
        assert (await stage.ask("here")).outcome == "replied"
        began = time.monotonic()
        stage.process.send_signal(signal.SIGSTOP)
        sent += [stage.ask("meanwhile") for _ in range(5)]
        await asyncio.sleep(0.6 * QUICK.down_after)
        stage.process.send_signal(signal.SIGCONT)
        for task in sent:
            assert (await asyncio.wait_for(task, SECONDS)).outcome == "replied"
        assert stage.watch.first(stage.container.remote_id, LinkDown, began) is None
    assert not stage.violations, described(stage.violations)


@pytest.mark.parametrize("how", ["delay", "rate"])
async def test_a_slow_network_is_no_dead_one(tmp_path: Path, how: str) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        began = time.monotonic()
        if how == "delay":
            stage.proxy.delay = 0.2
        else:
            stage.proxy.rate = 20_000
        for _ in range(8):
            for task in [stage.ask("slowly") for _ in range(10)]:
                assert (await asyncio.wait_for(task, SECONDS)).outcome == "replied"
        assert stage.watch.first(stage.container.remote_id, LinkDown, began) is None
    assert not stage.violations, described(stage.violations)


async def test_a_flipped_byte_harms_nobody_else() -> None:
    """TCP's checksum was fooled: what the bytes say now cannot be known, but nothing hangs and nothing dies."""
    server = ContainerServer()
    server.on_invoke(lambda data: data)
    ended: list[str] = []
    async with server, ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        healthy = await worker.connect(uuid4(), endpoint)

        async def flipped(side: Side, after: int) -> None:
            async with Proxy(endpoint) as proxy:
                proxy.flip(1 << after % 8, to=side, after=after)
                container = await worker.connect(uuid4(), proxy.endpoint, wait=False)
                began = time.monotonic()
                try:
                    await container.request("some text to be flipped", timeout=scaled(2.0))
                    ended.append("replied")
                except RequestError as error:
                    ended.append(type(error).__name__)
                assert time.monotonic() - began < scaled(3.0)
                await container.disconnect()

        places = [(side, after) for side in SIDES for after in range(0, 400, 7)]
        async with asyncio.TaskGroup() as tasks:
            for side, after in places:
                tasks.create_task(flipped(side, after))
            while len(ended) < len(places):
                assert await healthy.request("x", timeout=scaled(2.0)) == "x"
        assert server.statistics().in_flight == 0
    assert len(ended) == len(places)


async def test_an_engine_that_does_not_read_loses_its_connection_and_nobody_else() -> None:
    limits = Limits(queued_bytes=1 << 20, reply_bytes=50_000)
    server = ContainerServer(limits=limits, heartbeat=HeartbeatPolicy(interval=scaled(0.3), down_after=scaled(1.0)))
    server.on_invoke(lambda size: bytes(size))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    deaf, back = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    deaf.set(zmq.RCVHWM, 1)
    deaf.set(zmq.RCVBUF, 4096)
    pack, session = Encoder(Limits()).pack, uuid4()
    requests = {
        uuid4().bytes: pack([Kind.REQUEST, number, None, 0, Op.INVOKE, None, [20_000], None, None])
        for number in range(1, 301)
    }

    def ask(socket: zmq.Socket[bytes], *tags: bytes) -> None:
        socket.send_multipart([b"".join(tags), b"".join(requests[tag] for tag in tags)], zmq.NOBLOCK)

    def greet(socket: zmq.Socket[bytes], endpoint: str, number: int) -> None:
        socket.connect(endpoint)
        socket.send_multipart([LINK_TAG, pack(wire.hello(session, number, "deaf", 60.0, Limits()))])

    try:
        async with server, ComputerEngineWorker() as worker:
            endpoint = await server.bind("tcp://127.0.0.1:0")
            healthy = await worker.connect(uuid4(), endpoint)
            greet(deaf, endpoint, 1)
            await until(lambda: server.statistics().sessions == 2)
            # More than queued_bytes handed to libzmq, and more than that behind them.
            tags = list(requests)
            for start in range(0, len(tags), 100):
                ask(deaf, *tags[start : start + 100])
            await until(lambda: server.statistics().sessions == 1)
            assert await healthy.request(5) == bytes(5)
            # What it asks again on a new connection is known, and does not run again.
            greet(back, endpoint, 2)
            await until(lambda: server.statistics().sessions == 2)
            received = server.statistics().received
            ask(back, tags[0])
            frames: list[bytes] = []
            while not frames or frames[0] != tags[0]:
                await until(lambda: back.poll(0))
                frames = back.recv_multipart()
            record = msgpack.unpackb(frames[1])
            assert record[:3] == [Kind.ERROR, Code.NOT_KEPT, wire.EXECUTED.index(Executed.YES)]
            assert (server.statistics().received, server.statistics().repeated) == (received, 1)
    finally:
        deaf.close(0)
        back.close(0)
        context.term()


async def test_a_drain_without_a_successor() -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        server = ContainerServer()
        server.on_invoke(lambda data: data)
        container = await worker.connect(uuid4(), await server.bind("tcp://127.0.0.1:0"))
        await server.drain()
        await server.close()
        await until(lambda: container.state is LinkState.DOWN)
        with pytest.raises(RequestTimeout) as late:
            await container.request("x", timeout=scaled(0.3))
        with pytest.raises(NotConnected) as away:
            await container.request("x", wait=False)
        assert late.value.executed is away.value.executed is Executed.NO


async def test_a_network_that_cannot_be_reached() -> None:
    async with ComputerEngineWorker() as worker:
        remote_id = uuid4()
        began = time.monotonic()
        with pytest.raises(ConnectError, match="unreachable"):
            await worker.connect(remote_id, "224.0.0.1:3010")  # TCP goes to no group
        assert time.monotonic() - began < scaled(1.0)
        assert worker.get_engine(remote_id) is None


FORKED = """
import asyncio, os, uuid, mpzmq

async def main():
    async with mpzmq.ContainerServer() as server, mpzmq.ComputerEngineWorker() as worker:
        server.on_invoke(lambda data: data)
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        child = os.fork()
        if not child:
            for what in (container.request, server.bind):
                try:
                    asyncio.run(what("127.0.0.1:0"))
                except RuntimeError as error:
                    print(str(error)[:42], flush=True)
            os._exit(0)
        print(await asyncio.to_thread(lambda: os.waitpid(child, 0)[1]), await container.request("x"))

asyncio.run(main())
"""


def test_a_forked_child_may_not_use_what_its_parent_has() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[0].startswith("this worker belongs to another event loop"), told
    assert told[1].startswith("this server belongs to another event loop"), told
    assert told[2] == "0 x", told
