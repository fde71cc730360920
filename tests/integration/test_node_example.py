"""The example in Node, against Python: both directions, a restart, and a drain."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq

from mpzmq import (
    ComputerEngineWorker,
    ConnectionLost,
    ContainerServer,
    Executed,
    MessageTooLarge,
    RemoteError,
    RequestTimeout,
    Unsupported,
)
from mpzmq.protocol.wire.kinds import Code, Kind
from tests.support.raw import LINK_TAG
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.container import Start
    from tests.support.raw import Raw

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "node"
SOAK = Path(__file__).parent / "node_soak.mjs"


def installed(folder: Path) -> Path:
    """The example with its packages, in a copy: the tree stays as it is."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    copy = folder / "node_example"
    with (folder / "node_example.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side, and one of them installs
        if not (copy / "node_modules" / "zeromq").is_dir():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("node_modules"))
            command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
            try:
                subprocess.run(command, cwd=copy, check=True, capture_output=True, text=True, timeout=120)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                pytest.skip(f"npm could not install zeromq and @msgpack/msgpack: {error}")
    return copy


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed example, shared by all processes of a run."""
    base = tmp_path_factory.getbasetemp()
    return installed(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


class Node:
    """A container of the example."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.endpoint = "tcp://127.0.0.1:*"

    async def start(self) -> None:
        """Starts it, the second time at the same endpoint."""
        command = ["node", "serve.mjs", self.endpoint]
        self.process = await asyncio.create_subprocess_exec(*command, cwd=self._folder, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout is not None
        self.endpoint = (await soon(self.process.stdout.readline())).decode().strip()

    async def end(self, number: signal.Signals) -> int:
        """Sends it a signal, and waits for its end."""
        self.process.send_signal(number)
        return await soon(self.process.wait())


@pytest.fixture
async def node(example: Path) -> AsyncIterator[Node]:
    container = Node(example)
    await container.start()
    yield container
    if container.process.returncode is None:
        await container.end(signal.SIGKILL)
    container.process._transport.close()  # type: ignore[attr-defined]


async def test_python_calls_node(node: Node) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(node.endpoint)
        assert await soon(container.call("add", 1, 2)) == 3
        data = {"list": [1, 2.5, None, True, "\N{ROCKET}"], "bytes": b"small", "large": bytes(100_000)}
        assert await soon(container.request(data)) == data
        with pytest.raises(RemoteError, match="odd") as raised:
            await soon(container.call("fail", "odd"))
        assert raised.value.error_type == "TypeError" and raised.value.executed is Executed.YES
        with pytest.raises(Unsupported, match="there is no function nothing"):
            await soon(container.call("nothing"))
        with pytest.raises(RequestTimeout) as late:
            await soon(container.call("later", 1, 30.0, timeout=0.3))
        assert late.value.executed is Executed.YES
        with pytest.raises(MessageTooLarge):
            await soon(container.call("add", bytes(2_000_000), 1))
        sums = await soon(asyncio.gather(*(container.call("add", number, 1) for number in range(3000))))
        assert sums == list(range(1, 3001))
        assert adds_up(container.statistics()) and not container.statistics().in_flight


async def test_nothing_that_a_stranger_sends_ends_node(node: Node, raw: Callable[[int], Raw]) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(node.endpoint)
        peer = raw(zmq.DEALER).connect(node.endpoint)
        for hello in (
            [1],
            [1, "x"],
            [1, [99], None, 1],
            [1, [1], "no session", 1],
            [1, [1], uuid.uuid4(), "one", 5, 6, 7],
        ):
            peer.send(LINK_TAG, peer.pack(hello))
            ((_, answer),) = peer.unpack(await peer.receive())
            assert answer[0] == Kind.GOODBYE
        assert (await peer.greet())[0] == Kind.WELCOME
        for record in (
            [3],
            [3, 1, "soon", 0, 3, "add", [1, 2], None, None],
            [3, 1, None, 0, 3, "add", 5, None, None],
        ):
            tag = uuid.uuid4().bytes
            peer.send(tag, peer.pack(record))
            ((answered, answer),) = peer.unpack(await peer.receive())
            assert (answered, answer[:3]) == (tag, [Kind.ERROR, Code.MALFORMED, 0])
        peer.send(b"short", b"\xc1")
        assert await soon(container.call("add", 1, 2)) == 3


async def test_a_restart_of_node_is_told_as_it_is(node: Node) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(node.endpoint)
        lost = asyncio.create_task(container.call("later", "lost", 30.0))
        again = asyncio.create_task(container.call("later", "again", 0.5, idempotent=True))
        await until(lambda: container.statistics().in_flight == 2)
        await node.end(signal.SIGKILL)
        await node.start()
        with pytest.raises(ConnectionLost):
            await soon(lost)
        assert await soon(again) == "again"
        assert await soon(container.call("add", 1, 1)) == 2


async def test_node_drains(node: Node) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(node.endpoint)
        running = asyncio.create_task(container.call("later", "done", 0.5))
        await until(lambda: container.statistics().in_flight == 1)
        assert await soon(container.call("add", 1, 1)) == 2  # behind it, so that it has begun
        node.process.send_signal(signal.SIGTERM)
        assert await soon(running) == "done"
        assert await soon(node.process.wait()) == 0


async def test_node_calls_python(example: Path) -> None:
    server = ContainerServer(heartbeat=QUICK)
    server.function(lambda a, b: a + b, name="add")

    @server.function
    def fail(text: str) -> None:
        raise ValueError(text)

    async def call(*args: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            "node", "call.mjs", *args, cwd=example, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await soon(process.communicate())
        return process.returncode, out.decode().strip()

    async with server:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        assert await call(endpoint, "add", "1", "2.5") == (0, "3.5")
        assert await call(endpoint, "fail", '"odd"') == (1, "odd (executed: YES)")
        code, text = await call(endpoint, "nothing")
        assert code == 1 and "it has no function 'nothing'" in text and text.endswith("(executed: NO)")
        counted = server.statistics()
        assert (counted.replied, counted.failed, counted.refused, counted.in_flight) == (1, 1, 1, 0)


async def test_what_node_says_of_each_call_is_true_whatever_ends_the_container(
    example: Path, start: Start, tmp_path: Path
) -> None:
    served, journal = await start(), tmp_path / "ran"
    arguments = str(SOAK), str(example), served.endpoint, "1500", str(journal)
    process = await asyncio.create_subprocess_exec("node", *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    outcomes: dict[int, tuple[str, str]] = {}
    killed = False
    async for line in process.stdout:
        number, outcome, executed = json.loads(line)
        assert number not in outcomes, "told twice"
        outcomes[number] = outcome, executed
        if not killed and len(outcomes) >= 300:
            killed = True
            served.kill()
            await served.restart()
    assert await soon(process.wait()) == 0
    ran = [int(line) for line in journal.read_text().split()]
    assert killed and sorted(outcomes) == list(range(1500))
    for number, (outcome, executed) in outcomes.items():
        assert outcome in ("answered", "CallError"), outcome
        if outcome == "answered":
            assert ran.count(number) == 1
        elif executed == "NO":
            assert number not in ran
        else:
            assert ran.count(number) <= 1
    assert sum(outcome == "answered" for outcome, _ in outcomes.values()) > 1000
