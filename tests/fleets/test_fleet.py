"""``mpzmq.fleet()`` on this host: processes that are started, scaled, lost, and ended."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

import mpzmq
from mpzmq import ComputerEngineWorker, ConnectError, GroupPolicy
from mpzmq.fleets.local import LocalBackend
from tests.support.commands import survivors
from tests.support.waiting import SECONDS, scaled, soon, until

if TYPE_CHECKING:
    from pathlib import Path

SERVER = """
import asyncio, os
from pathlib import Path
from mpzmq import ContainerServer

if os.path.exists(os.environ["FLEET_BROKEN"]):
    raise RuntimeError("it is broken")

server = ContainerServer(name="carrier")

@server.function
async def pid():
    await asyncio.sleep(0.02)
    return os.getpid()

@server.function
async def slow(seconds):
    try:
        await asyncio.sleep(seconds)
    finally:
        Path(os.environ["FLEET_BROKEN"]).with_name("ended").touch()

@server.function
def variable(name):
    return os.environ.get(name)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "carrier.py").write_text(SERVER)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("FLEET_BROKEN", str(tmp_path / "broken"))
    return tmp_path


async def pids_of(fleet: mpzmq.Fleet) -> set[int]:
    return set((await fleet.call_all("pid")).check().results.values())


async def gone(pids: set[int]) -> None:
    assert await asyncio.to_thread(survivors, list(pids), SECONDS) == []


@pytest.mark.usefixtures("folder")
async def test_it_is_scaled_under_load_and_fails_nobody() -> None:
    replies: list[int] = []
    goes_on = True
    async with mpzmq.fleet("carrier:server", replicas=1, policy=GroupPolicy(max_attempts=5)) as fleet:

        async def ask() -> None:
            while goes_on:
                replies.append(await fleet.call("pid"))

        callers = [asyncio.create_task(ask()) for _ in range(10)]
        await until(lambda: replies)
        await fleet.scale(3)
        await until(lambda: len(set(replies)) == 3)
        assert {member.name for member in fleet.members} == {"carrier-1", "carrier-2", "carrier-3"}
        assert repr(fleet) == "<Fleet 'carrier:server' 3 of 3 connected>"
        await fleet.scale(1)
        await gone(set(replies) - {replies[0]})  # they have drained, and are gone when scale() returns
        count = len(replies)
        await until(lambda: len(replies) > count + 20)
        goes_on = False
        await soon(asyncio.gather(*callers))
        assert {*replies[count + 10 :]} == {replies[0]}
    await gone(set(replies))
    with pytest.raises(RuntimeError, match="is closed: open another one"):
        await fleet.scale(2)
    await fleet.close()


@pytest.mark.usefixtures("folder")
async def test_one_that_is_killed_comes_again_under_its_name() -> None:
    fleet = await mpzmq.fleet("carrier:server", replicas=2, env={"FLEET_MARK": "set"})
    try:
        await fleet.wait_ready(2)
        before = await pids_of(fleet)
        os.kill(min(before), signal.SIGKILL)
        async with asyncio.timeout(SECONDS):
            while not await pids_known(fleet) - before:
                await fleet.wait_ready(2, SECONDS)
        assert {member.name for member in fleet.members} == {"carrier-1", "carrier-2"}
        assert await fleet.call("variable", "FLEET_MARK") == "set"
    finally:
        await fleet.close()
    await gone(before)


async def pids_known(fleet: mpzmq.Fleet) -> set[Any]:
    return set((await fleet.call_all("pid")).results.values())


async def test_with_a_worker_of_the_program(folder: Path) -> None:
    async with ComputerEngineWorker() as worker:
        async with mpzmq.fleet("carrier:server", replicas=1, worker=worker) as fleet:
            pids = await pids_of(fleet)
            assert worker.groups() == (fleet,)
        assert worker.groups() == ()
        fleet = await mpzmq.fleet("carrier:server", replicas=1, worker=worker)
        pids |= await pids_of(fleet)
    await gone(pids)  # closing the worker ends the fleet


async def test_what_does_not_start_says_why_and_leaves_nothing(folder: Path) -> None:
    (folder / "broken").touch()
    with pytest.raises(ConnectError) as caught:
        await mpzmq.fleet("carrier:server", replicas=3)
    text = str(caught.value)
    assert text.startswith("'carrier:server' is not served: carrier-1 has ended with exit code 1 before it served. It")
    assert text.count("RuntimeError: it is broken") == 2  # in the traceback, and below it
    assert caught.value.address == "carrier:server"


async def test_one_more_that_does_not_start_leaves_the_others(folder: Path) -> None:
    async with mpzmq.fleet("carrier:server", replicas=1) as fleet:
        (folder / "broken").touch()
        with pytest.raises(ConnectError, match="carrier-2 has ended with exit code 1 before it served"):
            await fleet.scale(2)
        assert len(await pids_of(fleet)) == 1
        (folder / "broken").unlink()
        await fleet.wait_ready(2, scaled(30.0))  # it was tried again


async def test_a_start_that_is_cancelled_leaves_nothing(folder: Path) -> None:
    (folder / "carrier.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        "Path(os.environ['FLEET_BROKEN']).with_name('pid').write_text(str(os.getpid()))\ntime.sleep(3600)\n"
    )
    opening = asyncio.create_task(mpzmq.fleet("carrier:server", replicas=2))
    await until(lambda: (folder / "pid").exists() and (folder / "pid").read_text())
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(opening)
    await gone({int((folder / "pid").read_text())})


async def test_a_close_that_is_cancelled_kills(folder: Path) -> None:
    fleet = await mpzmq.fleet("carrier:server", replicas=1)
    pids = await pids_of(fleet)
    backend = fleet._backend
    assert isinstance(backend, LocalBackend)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    closing = asyncio.create_task(fleet.close())
    await until(lambda: backend._processes is not None and backend._processes.supervisor.is_stopping)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # it was woken for SIGTERM
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(closing)
    await gone(pids)
    await fleet.close()


@pytest.mark.usefixtures("folder")
async def test_whoever_closes_it_while_it_is_closed_waits_for_the_same_end() -> None:
    fleet = await mpzmq.fleet("carrier:server", replicas=1)
    pids = await pids_of(fleet)
    first = asyncio.create_task(fleet.close())
    await asyncio.sleep(0)
    await fleet.close()
    assert survivors(list(pids), 0) == []
    await first


@pytest.mark.usefixtures("folder")
async def test_one_that_cannot_be_started_is_told_and_keeps_nobody_waiting() -> None:
    async with mpzmq.fleet("carrier:server", replicas=1) as fleet:
        lowest = os.dup(0)
        os.close(lowest)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))  # none can be opened any more
        try:
            with pytest.raises(ConnectError, match=r"cannot be started: .*Too many open files"):
                await soon(fleet.scale(2))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await fleet.wait_ready(2, scaled(30.0))  # it was tried again
        pids = await pids_of(fleet)
    await gone(pids)


async def test_what_goes_on_writing_when_a_process_has_ended_keeps_nobody(folder: Path) -> None:
    (folder / "carrier.py").write_text(
        "import subprocess\n"
        "subprocess.Popen(['yes', 'x' * 20], stdout=2, start_new_session=True)\n"  # until nobody reads any more
        "raise RuntimeError('no')\n"
    )
    with pytest.raises(ConnectError, match="has ended with exit code 1 before it served"):
        await soon(mpzmq.fleet("carrier:server", replicas=1), SECONDS)


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        ({"replicas": 0}, ValueError, "replicas must be 1 or more, not 0"),
        ({"replicas": "2"}, TypeError, "replicas must be an int"),
        ({"source": "carrier"}, ValueError, "'carrier' names no server: write MODULE:SERVER"),
        ({"source": None}, TypeError, "source must be a str"),
        ({"source": "carrier\0:server"}, ValueError, r"'carrier.x00:server' names no server"),
        ({"on": "mars"}, TypeError, "'mars'"),
        ({"replicas": 10**9}, ValueError, "replicas must be at most 1000 on one host, not 1000000000"),
        ({"env": {"A=B": "x"}}, ValueError, "no process can have the variable 'A=B'"),
        ({"env": {"": "x"}}, ValueError, "no process can have the variable ''"),
        ({"env": {"A": "x\0"}}, ValueError, "its value has a NUL"),
        ({"env": {"A": "\ud800"}}, ValueError, "'A' cannot be encoded"),
        ({"env": {"A": 1}}, TypeError, "env must be of str, not str = int"),
    ],
    ids=[
        "none",
        "no number",
        "no server",
        "no text",
        "NUL",
        "no place",
        "too many",
        "=",
        "no name",
        "NUL in a value",
        "surrogate",
        "number",
    ],
)
async def test_wrong_usage(arguments: dict[str, Any], kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        await mpzmq.fleet(**{"source": "carrier:server", **arguments})
