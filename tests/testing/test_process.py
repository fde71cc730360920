"""A container in a process of its own, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, HeartbeatPolicy, LinkDown
from mpzmq.testing import ContainerProcess, StartFailed, connected
from tests.support import ROOT
from tests.support.container import SPEC, build
from tests.support.waiting import SECONDS, event_of, scaled

if TYPE_CHECKING:
    from pathlib import Path

SERVER = """
from mpzmq import ContainerServer

server = ContainerServer(name="mine")
"""


def written(folder: Path, source: str, module: str = "mine") -> Path:
    (folder / f"{module}.py").write_text(source)
    return folder


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_process_serves_until_it_is_stopped() -> None:
    with ContainerProcess(SPEC, folder=ROOT) as process:
        assert not process.endpoint.endswith(":0")
        assert repr(process) == f"<ContainerProcess 'tests.support.container:quick' at {process.endpoint}>"
        with pytest.raises(TimeoutError, match=rf"process {process.pid}\) still runs after 0.01 s"):
            process.wait(0.01)
        with pytest.raises(RuntimeError, match="runs already"):
            process.start()
    assert process.wait() == 0
    assert is_gone(process.pid)
    assert process.stderr == ""
    process.stop()
    process.kill()


def test_before_the_start_there_is_no_process() -> None:
    process = ContainerProcess(SPEC, name="mine")
    process.stop()
    for use in (process.kill, process.wait, lambda: process.pid):
        with pytest.raises(RuntimeError, match="mine was not started: use 'with', or call start"):
            use()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_ends_it(number: signal.Signals) -> None:
    with ContainerProcess(SPEC, folder=ROOT) as process:
        process.send_signal(number)
        assert process.wait() == (0 if number is signal.SIGTERM else -number)


def test_a_frozen_one_is_stopped_gently() -> None:
    with ContainerProcess(SPEC, folder=ROOT) as process:
        process.send_signal(signal.SIGSTOP)
        process.stop(timeout=30.0)
        assert process.wait() == 0


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    source = """
import contextlib, time
from mpzmq import ContainerServer

@contextlib.asynccontextmanager
async def never_ending(server):
    yield
    time.sleep(3600)

server = ContainerServer(lifespan=never_ending)
"""
    with ContainerProcess("mine:server", folder=written(tmp_path, source)) as process:
        process.stop(timeout=0.2)
        assert process.wait() == -signal.SIGKILL


def test_a_successor_has_the_port_of_the_one_before(tmp_path: Path) -> None:
    folder = written(tmp_path, SERVER + "print('here I am')")
    with ContainerProcess("mine:server", folder=folder) as process:
        first = process.pid, process.endpoint
        process.kill()
        process.restart()
        second = process.pid, process.endpoint
        process.restart()  # this time from a running one
        third = process.pid, process.endpoint
    assert len({first[0], second[0], third[0]}) == 3
    assert first[1] == second[1] == third[1]
    assert is_gone(first[0])
    assert is_gone(second[0])
    assert process.stderr == "here I am\n" * 3


async def test_what_it_writes_can_be_read_meanwhile_and_blocks_nothing(tmp_path: Path) -> None:
    source = """
print("tcp://127.0.0.1:1")  # not the endpoint
print("x" * 1_000_000)

@server.function
def say(word):
    print(word)
"""
    with ContainerProcess("mine:server", folder=written(tmp_path, SERVER + source)) as process:
        async with ComputerEngineWorker() as worker:
            container = await worker.connect(uuid.uuid4(), process.endpoint)
            await container.call("say", "hello")
        assert process.stderr.endswith("x\nhello\n")
        assert len(process.stderr) > 1_000_000


def test_its_environment_and_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = written(tmp_path_factory.mktemp("elsewhere"), "WORD = 'found'", "helper")
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.setenv("INHERITED", "yes")
    source = SERVER + "import helper, os; print(helper.WORD, os.environ['GIVEN'], os.environ['INHERITED'])"
    with ContainerProcess("mine:server", folder=written(tmp_path, source), env={"GIVEN": "too"}) as process:
        assert process.stderr == "found too yes\n"


HANGS = "import time; print('so', flush=True); time.sleep(3600)"
START = scaled(1.5)
"""Seconds for one that hangs: enough to come to that."""


@pytest.mark.parametrize(
    ("spec", "source", "told"),
    [
        ("mine:server", "raise ValueError('no luck')", "ValueError: no luck"),
        ("mine:sever", SERVER, "did you mean 'server'"),
        ("yours:server", SERVER, "there is no module 'yours'"),
        ("mine:server", SERVER + "import os; os._exit(7)", "it ended with exit code 7. It wrote nothing."),
        (
            "mine:server",
            SERVER + "import time; print('so', flush=True); time.sleep(3600)",
            f"within {START:g} s. It wrote:\nso",
        ),
    ],
    ids=["raises", "no-server", "no-module", "exits", "hangs"],
)
def test_one_that_does_not_start_says_why(tmp_path: Path, spec: str, source: str, told: str) -> None:
    limit = START if HANGS in source else scaled(20.0)
    process = ContainerProcess(spec, folder=written(tmp_path, source), start_timeout=limit)
    with pytest.raises(StartFailed) as caught:
        process.start()
    assert str(caught.value).startswith(f"the container {spec} did not start: it ")
    assert told in str(caught.value)
    assert is_gone(process.pid)


def test_a_port_in_use(tmp_path: Path) -> None:
    with ContainerProcess(SPEC, folder=ROOT) as process:
        second = ContainerProcess(SPEC, folder=ROOT, endpoint=process.endpoint, name="second")
        with pytest.raises(StartFailed, match=r"(?s)the container second did not start.*Address already in use"):
            second.start()


PARENT = """
import sys
from mpzmq.testing import ContainerProcess

process = ContainerProcess(*sys.argv[1:])
process.start()
print(process.endpoint, flush=True)
sys.stdin.read()
"""


async def test_it_ends_with_its_parent_however_that_ends() -> None:
    parent = subprocess.Popen(  # noqa: ASYNC220  (it returns at once)
        [sys.executable, "-c", PARENT, SPEC],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with parent:
        assert parent.stdout is not None
        endpoint = await asyncio.to_thread(parent.stdout.readline)
        async with ComputerEngineWorker() as worker:
            container = await worker.connect(uuid.uuid4(), endpoint.decode().strip())
            events = worker.service().events()
            pid = await container.call("pid")
            parent.kill()
            await event_of(events, LinkDown)
            async with asyncio.timeout(SECONDS):
                while not is_gone(pid):  # noqa: ASYNC110  (it was not our child: nobody tells us)
                    await asyncio.sleep(0.01)


async def test_a_container_started_in_a_handler_is_a_process_like_any_other() -> None:
    server = build(HeartbeatPolicy())
    processes: list[ContainerProcess] = []

    @server.function(thread=True)
    def start() -> str:
        processes.append(ContainerProcess(SPEC, folder=ROOT))
        processes[-1].start()
        return processes[-1].endpoint

    try:
        async with connected(server) as container, ComputerEngineWorker() as worker:
            started = await worker.connect(uuid.uuid4(), await container.call("start"))
            assert await started.request("x") == "x"
    finally:
        for process in processes:
            process.stop()
