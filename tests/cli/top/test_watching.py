"""The containers that are looked at: what is known of each when it hangs, is killed, refuses, comes and goes."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest
import zmq

from mpzmq import ComputerEngineWorker, ContainerServer, Executed, HeartbeatPolicy, ReconnectPolicy, Security, Status
from mpzmq.cli.top.watching import Watch
from mpzmq.protocol.wire import records as wire
from mpzmq.protocol.wire.kinds import Code
from mpzmq.protocol.wire.records import LINK_TAG
from mpzmq.testing import ContainerProcess, Members
from tests.support.commands import SERVER
from tests.support.raw import Liar
from tests.support.secured import CONTAINER, ENGINE
from tests.support.waiting import scaled, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from mpzmq.cli.top.table import Row
    from tests.support.raw import Raw

INTERVAL = 0.05
TIMEOUT = scaled(10.0)


@pytest.fixture
async def worker() -> AsyncIterator[ComputerEngineWorker]:
    heartbeat = HeartbeatPolicy(interval=scaled(0.2), down_after=scaled(30.0))
    async with ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.05), heartbeat=heartbeat) as made:
        yield made


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ContainerProcess]:
    (tmp_path / "desk.py").write_text(SERVER)
    with ContainerProcess("desk:server", folder=tmp_path) as one:
        yield one


async def looked(watch: Watch, seen: Callable[[list[Row]], object]) -> list[Row]:
    """Looks again and again until something is seen."""
    async with asyncio.timeout(scaled(10.0)):
        while True:
            watch.ask()
            await watch.answered(INTERVAL)
            if seen(rows := watch.rows()):
                return rows
            await asyncio.sleep(INTERVAL)


async def test_one_that_hangs_is_killed_and_comes_back(process: ContainerProcess, worker: ComputerEngineWorker) -> None:
    server = ContainerServer(name="other")
    server.function(len)
    async with server:
        other = await server.bind("127.0.0.1:0")
        group = await worker.group([process.endpoint, other], wait=False)
        watch = Watch([group], INTERVAL, TIMEOUT)
        await watch.settle(TIMEOUT)
        await group.handle(process.endpoint).call("add", 1, 2)
        numbers = {row.name: row for row in await looked(watch, lambda rows: all(_rated(row) for row in rows))}
        assert numbers[process.endpoint].functions["add"].in_flight == 0
        assert numbers[process.endpoint].age is None and numbers[other].rtt is not None

        process.send_signal(signal.SIGSTOP)
        rows = await looked(watch, lambda rows: any(row.state == "BUSY" for row in rows))
        one, two = sorted(rows, key=lambda row: row.name != process.endpoint)
        assert one.age is not None and one.figures is not None and "add" in one.functions and one.why is None
        assert one.trend[-1] is None and two.trend[-1] is not None, "the other one is not waited for"
        assert (two.state, two.age) == ("ALIVE", None)
        process.send_signal(signal.SIGCONT)
        await looked(watch, lambda rows: all(row.age is None and row.state == "ALIVE" for row in rows))

        process.kill()
        rows = await looked(watch, lambda rows: any(row.state == "DOWN" and row.age is not None for row in rows))
        (down,) = (row for row in rows if row.name == process.endpoint)
        assert down.figures is not None and down.why is not None
        await asyncio.to_thread(process.restart)
        rows = await looked(watch, lambda rows: all(_rated(row) and row.age is None for row in rows))
        (back,) = (row for row in rows if row.name == process.endpoint)
        assert "add" not in back.functions and back.figures is not None and back.figures.requests == 0
        await soon(watch.close())


def _rated(row: Row) -> bool:
    return row.figures is not None and row.figures.requests is not None


async def test_containers_come_and_go(worker: ComputerEngineWorker) -> None:
    one, two = ContainerServer(name="one"), ContainerServer(name="two")
    async with one, two:
        endpoints = [await one.bind("127.0.0.1:0"), await two.bind("127.0.0.1:0")]
        members = Members(endpoints[:1])
        watch = Watch([await worker.group(members, name="desks", wait=False)], INTERVAL, TIMEOUT)
        (row,) = await looked(watch, lambda rows: len(rows) == 1 and _rated(rows[0]))
        assert row.name == endpoints[0]
        members.add(endpoints[1])
        rows = await looked(watch, lambda rows: len(rows) == 2 and all(map(_rated, rows)))
        assert [row.name for row in rows] == sorted(endpoints)
        members.remove(endpoints[0])
        (row,) = await looked(watch, lambda rows: len(rows) == 1)
        assert row.name == endpoints[1] and watch.missing() == {}
        members.remove(endpoints[1])
        await looked(watch, lambda rows: rows == [])
        assert watch.missing() == {"desks": "it names no containers"}
        await soon(watch.close())


async def test_a_source_that_has_no_containers(worker: ComputerEngineWorker, tmp_path: Path) -> None:
    source = f"file://{tmp_path}/none.txt"
    watch = Watch([await worker.group(source, wait=False)], INTERVAL, TIMEOUT)
    await watch.settle(0.2)
    assert watch.rows() == []
    assert "No such file or directory" in watch.missing()[source]


async def test_one_that_does_not_permit_it(tmp_path: Path) -> None:
    (tmp_path / "engine.pub").write_text(f'public-key = "{ENGINE.public}"\nallow = ["add"]\n')
    server = ContainerServer(security=Security.server(CONTAINER, allow=tmp_path))
    async with server, ComputerEngineWorker(security=Security.client(ENGINE, CONTAINER.public)) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        watch = Watch([await worker.group(endpoint, wait=False)], INTERVAL, TIMEOUT)
        (row,) = await looked(watch, lambda rows: rows[0].why)
        assert (row.state, row.figures) == ("ALIVE", None) and row.rtt is not None
        assert row.why is not None and row.why.startswith("NotPermitted: ")
        await soon(watch.close())


async def test_one_that_does_not_know_it(worker: ComputerEngineWorker, raw: Callable[[int], Raw]) -> None:
    liar = Liar(raw(zmq.ROUTER).bind())
    watch = Watch([await worker.group(liar.router.endpoint, wait=False)], INTERVAL, TIMEOUT)
    await liar.hello()
    liar.say(LINK_TAG, liar.welcome())
    await watch.settle(TIMEOUT)
    watch.ask()
    tag = await liar.request()
    liar.say(tag, wire.error(Code.UNSUPPORTED, Executed.NO, Status.RUNNING, "what is that?"))
    await watch.answered(TIMEOUT)
    (row,) = watch.rows()
    assert (row.state, row.figures) == ("ALIVE", None) and row.rtt is not None
    assert row.why is not None and row.why.startswith("Unsupported: ") and "what is that?" in row.why
    watch.ask()
    await soon(watch.close())
