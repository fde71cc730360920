"""A fleet on Dask: real workers, in processes of their own, that are killed, added and retired."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing.resource_tracker
import os
import signal
import sys
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

import pytest

import mpzmq
from mpzmq import ConnectError, ConnectionLost, Executed
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

dask: Any = pytest.importorskip("dask", reason="the extra dask is not installed")
distributed: Any = pytest.importorskip("distributed", reason="the extra dask is not installed")

SERVER = """
import asyncio, os
from mpzmq import ContainerServer

server = ContainerServer()
other = ContainerServer()


@server.function
@other.function
async def work(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


@server.function
def variable(name: str) -> str | None:
    return os.environ.get(name)


@server.function
async def leave() -> None:
    asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(server.close()))
"""


@pytest.fixture(scope="module", autouse=True)
def forked_workers() -> Iterator[None]:
    """Workers are forked from a process that has imported Dask once: that takes seconds for each of them else."""
    multiprocessing.resource_tracker.ensure_running()  # it belongs to this process, and to no test
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        distributed.utils.get_mp_context()  # which says what is imported there
        forkserver.ensure_running()
        yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # "used by unit tests to stop the server"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that the workers can import: they have the path of this process."""
    (tmp_path / "dask_served.py").write_text(SERVER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "dask_served:server"


@contextlib.asynccontextmanager
async def cluster_of(workers: int) -> AsyncIterator[Any]:
    """A scheduler in this process, and workers in their own."""
    async with distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        worker_dashboard_address=None,
        memory_limit=0,
        asynchronous=True,
    ) as cluster:
        yield cluster


def what_is_left(dask_worker: Any) -> list[str]:
    """Runs in a worker: threads and listening sockets of containers, and plugins of fleets."""
    import importlib
    import threading

    psutil: Any = importlib.import_module("psutil")  # it comes with distributed, and has no types
    threads = [thread.name for thread in threading.enumerate() if "mpzmq" in thread.name]
    plugins = [name for name in dask_worker.plugins if "mpzmq" in name]
    listening = [c.laddr for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    its_own = {dask_worker.port, *dask_worker.service_ports.values()}
    ours = [f"port {address.port}" for address in listening if address.port not in its_own]
    return threads + plugins + ours


def fleet_plugins(cluster: Any) -> list[Any]:
    return [plugin for name, plugin in cluster.scheduler.plugins.items() if "mpzmq" in name]


def addresses(fleet: mpzmq.Group) -> list[str]:
    return [member.address for member in fleet.members]


async def nothing_left(client: Any) -> None:
    left = await client.run(what_is_left)
    assert not any(left.values()), left


@pytest.mark.long
async def test_workers_are_killed_added_and_retired_under_load(served: str) -> None:
    async with cluster_of(2) as cluster, distributed.Client(cluster, asynchronous=True) as client:
        async with mpzmq.fleet(served, on=client) as fleet:
            await fleet.wait_ready(2, timeout=scaled(10))
            done = 0
            lost: list[ConnectionLost] = []
            is_over = asyncio.Event()

            async def caller() -> None:
                nonlocal done
                while not is_over.is_set():
                    try:
                        await fleet.call("work", 0.02, timeout=scaled(20))
                    except ConnectionLost as error:
                        lost.append(error)
                    done += 1

            async def go_on(calls: int = 100) -> None:
                target = done + calls
                await until(lambda: done >= target)

            async with asyncio.TaskGroup() as callers:
                for _ in range(8):
                    callers.create_task(caller())
                await go_on()

                # Killed: its nanny starts another process under its name. And one more comes at the same time.
                victim = fleet.members[0]
                os.kill(await fleet.handle(victim.name).call("work", 0.0), signal.SIGKILL)
                cluster.scale(3)
                await until(lambda: victim.address not in addresses(fleet))
                await fleet.wait_ready(3, timeout=scaled(40))
                assert victim.name in [member.name for member in fleet.members]
                await go_on()

                retired = next(member for member in fleet.members if member.name != victim.name)
                await client.retire_workers([retired.labels["worker"]])
                await until(lambda: retired.address not in addresses(fleet))
                await go_on()
                is_over.set()

            # What was under way on the killed one, and nothing else.
            assert len(lost) <= 8
            assert all(victim.address in str(error) and error.executed is not Executed.NO for error in lost), lost
        await nothing_left(client)
        assert not fleet_plugins(cluster)
        assert not [name for name in cluster.scheduler.handlers if "mpzmq" in name]


@pytest.mark.long
async def test_fleets_are_opened_scaled_and_closed(served: str) -> None:
    """With a client that has an event loop of its own, in another thread."""
    async with cluster_of(2) as cluster:
        client = await asyncio.to_thread(distributed.Client, cluster.scheduler_address)
        try:
            async with mpzmq.fleet(served, replicas=1, on=client, env={"COLOUR": "green"}) as fleet:
                assert await fleet.call("variable", "COLOUR") == "green"

                # The server object of that worker is taken: the other fleet finds the other worker.
                async with mpzmq.fleet(served, replicas=1, on=client) as second:
                    assert await second.call("variable", "COLOUR") is None
                    assert {m.name for m in fleet.members}.isdisjoint(m.name for m in second.members)
                    with pytest.raises(ConnectError, match=r"serves mpzmq-fleet-\w+ already, and one server object"):
                        await fleet.scale(2)
                # Another object of the same module is free.
                async with mpzmq.fleet("dask_served:other", on=client) as third:
                    await third.wait_ready(2, timeout=scaled(10))
                with pytest.raises(ValueError, match="has 1 workers that can serve, and cannot be made larger"):
                    await fleet.scale(3)
            # Closed, and opened anew.
            async with mpzmq.fleet(served, on=client) as fleet:
                await fleet.wait_ready(2, timeout=scaled(10))
                await fleet.scale(1)
                assert len({await fleet.call("work", 0.0) for _ in range(10)}) == 1
            with pytest.raises(ConnectError, match=r"in tcp://127.0.0.1:\d+: there is no module 'nowhere'"):
                await mpzmq.fleet("nowhere:server", on=client)
            left = await asyncio.to_thread(client.run, what_is_left)
            assert not any(left.values()), left
        finally:
            await asyncio.to_thread(client.close)


ENGINE = """
import asyncio, sys
import distributed, mpzmq

async def main():
    async with distributed.Client(sys.argv[1], asynchronous=True) as client:
        async with mpzmq.fleet("dask_served:server", on=client) as fleet:
            await fleet.call("work", 0.0)
            print("ready", flush=True)
            await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.long
async def test_containers_do_not_outlive_their_engine(served: str, tmp_path: Path) -> None:
    """It was killed, or has closed its client before the fleet; and a container that ends by itself is told of."""
    async with cluster_of(1) as cluster, distributed.Client(cluster, asynchronous=True) as client:
        script = tmp_path / "engine.py"
        script.write_text(ENGINE)
        engine = await asyncio.create_subprocess_exec(
            sys.executable, script, cluster.scheduler_address, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert engine.stdout is not None
            assert await engine.stdout.readline() == b"ready\n"
            (plugin,) = fleet_plugins(cluster)
            plugin.abandoned_after = 0.1
        finally:
            engine.kill()
            await engine.wait()
        await until(lambda: not fleet_plugins(cluster))
        await nothing_left(client)

        async with mpzmq.fleet(served, on=client) as fleet:
            with contextlib.suppress(ConnectionLost):
                await fleet.call("leave")
            await until(lambda: not fleet.members)
            (plugin,) = fleet_plugins(cluster)
            told = await plugin.handle("watch", since=-1)
            assert list(told["failures"].values()) == ["it was closed from within"]
        await nothing_left(client)

        passing = await distributed.Client(cluster.scheduler_address, asynchronous=True)
        fleet = await mpzmq.fleet(served, on=passing)
        (plugin,) = fleet_plugins(cluster)
        plugin.abandoned_after = 0.1
        await passing.close()
        await until(lambda: not fleet_plugins(cluster))
        await fleet.close()
        await nothing_left(client)


async def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(TypeError, match=r"on a client of Dask \(install mpzmq-engine\[dask\] .*, not on int"):
        await mpzmq.fleet("calc:server", on=3)
