"""Forked children: they hold nothing of their parent's connections, and can make their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, HeartbeatPolicy, LinkDown
from tests.support.scene import REDIAL
from tests.support.waiting import SECONDS, event_of, soon

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.scene import Scene

    Program = Callable[..., Awaitable[Process]]

ROOT = Path(__file__).parents[2]
PATIENT = HeartbeatPolicy(interval=20.0, down_after=60.0)
"""What is seen sooner than that is not seen by a heartbeat."""

WARNINGS = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
"""Python 3.12 and later warn of each fork in a process with threads."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="a child finds its copies by /proc/self/fd")

CONTAINER = """
import asyncio, multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from mpzmq import ContainerServer, HeartbeatPolicy

server = ContainerServer(heartbeat=HeartbeatPolicy(interval=20.0, down_after=60.0))
pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))

def forked():
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    return child

server.function(os.getpid, name="pid")
server.function(forked, name="plain")
server.function(forked, name="thread", thread=True)

@server.function(name="pool")
async def pooled():
    return await asyncio.get_running_loop().run_in_executor(pool, os.getpid)

server.run(sys.argv[1], loop=sys.argv[2], on_bound=lambda endpoint: print(endpoint, flush=True))
"""


@pytest.fixture
async def program() -> AsyncIterator[Program]:
    """Starts Python programs, and ends them with all their children."""
    started: list[Process] = []

    async def start(text: str, *arguments: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *WARNINGS, "-c", text, *arguments,
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    return (await soon(process.stdout.readline(), 20.0)).decode().strip()


@linux
@pytest.mark.parametrize(
    ("endpoint", "loop", "how"),
    [
        ("tcp://127.0.0.1:0", "asyncio", "plain"),
        ("tcp://127.0.0.1:0", "uvloop", "thread"),
        ("tcp://[::1]:0", "auto", "pool"),
        ("ipc://{}/socket", "auto", "plain"),
    ],
)
async def test_a_container_that_is_killed_is_missed_though_its_child_lives(
    program: Program, tmp_path: Path, endpoint: str, loop: str, how: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    first = await program(CONTAINER, endpoint.format(tmp_path), loop)
    bound = await line_of(first)
    async with ComputerEngineWorker(heartbeat=PATIENT, reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), bound)
        child = await container.call(how)
        assert await asyncio.gather(*(container.call("pid") for _ in range(100))) == [first.pid] * 100
        events = worker.service().events()
        first.kill()
        await event_of(events, LinkDown)
        os.kill(child, 0)
        second = await program(CONTAINER, bound, loop)
        assert await line_of(second) == bound
        await container.wait_ready()
        assert await container.call("pid") == second.pid
        os.kill(child, 0)


ENGINE = """
import asyncio, os, sys, time, uuid
from mpzmq import ComputerEngineWorker, ConnectError, ReconnectPolicy

def forked():
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)

async def main():
    async with ComputerEngineWorker(reconnect=ReconnectPolicy(connect_timeout=60.0)) as worker:
        await worker.connect(uuid.uuid4(), sys.argv[1], wait=False)
        sys.stdin.readline()
        forked()
        await asyncio.sleep(60)

asyncio.run(main())
"""
BLOCKING = """
import os, sys, threading, time
from mpzmq import blocking

threading.Thread(target=blocking.connect, args=(sys.argv[1],), kwargs={"timeout": 60.0}, daemon=True).start()
sys.stdin.readline()
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
os._exit(0)
"""


@linux
@pytest.mark.parametrize("text", [ENGINE, BLOCKING], ids=["worker", "blocking"])
@pytest.mark.parametrize("kind", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "ipc"])
async def test_an_engine_that_is_killed_is_missed_though_its_child_lives(
    program: Program, tmp_path: Path, text: str, kind: socket.AddressFamily
) -> None:
    """Seen by a plain listener: the connection ends."""
    with socket.socket(kind) as listener:
        listener.bind(("127.0.0.1", 0) if kind == socket.AF_INET else f"{tmp_path}/socket")
        listener.listen()
        listener.setblocking(False)
        name = listener.getsockname()
        endpoint = f"tcp://{name[0]}:{name[1]}" if kind == socket.AF_INET else f"ipc://{name}"
        engine = await program(text, endpoint)
        loop = asyncio.get_running_loop()
        connection, _ = await soon(loop.sock_accept(listener), 20.0)
        with connection:
            assert engine.stdin is not None
            engine.stdin.write(b"connected\n")
            child = int(await line_of(engine))
            engine.kill()
            while await soon(loop.sock_recv(connection, 4096)):
                pass
            os.kill(child, 0)


IN_ONE_PROCESS = """
import asyncio, os, signal, socket, sys, time, uuid
from mpzmq import ComputerEngineWorker, ContainerServer

def serving():
    server = ContainerServer()
    server.on_invoke(lambda data: data)
    return server

async def trip(endpoint):
    async with ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), endpoint)
        return await container.request(bytes(100_000)) == bytes(100_000)

async def there_and_back(endpoint):
    async with serving() as server:
        return await trip(await server.bind(endpoint))

async def main(endpoint):
    server = serving()
    bound = await server.bind(endpoint)
    others = [socket.create_server((host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    if bound.startswith("tcp:"):
        others.append(socket.create_server(("127.0.0.2", int(bound.rpartition(":")[2]))))
    clients = [socket.create_connection(other.getsockname()) for other in others]
    pair = socket.socketpair()
    async with ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), bound)
        child = os.fork()
        if not child:
            code = 1
            try:
                for client, other in zip(clients, others):  # the application's own sockets are as they were
                    client.send(b"x")
                    assert other.accept()[0].recv(1) == b"x"
                pair[0].send(b"x")
                assert pair[1].recv(1) == b"x"
                assert asyncio.run(trip(bound))  # the parent serves
                assert asyncio.run(there_and_back("tcp://127.0.0.1:0"))
                code = 0
            finally:
                os.write(told, str(code).encode())
                time.sleep(60)
        told_of = asyncio.get_running_loop().run_in_executor(None, os.read, hear, 1)
        assert await told_of == b"0"
        assert await container.request("x") == "x"
        assert worker.service().statistics().reconnects == 0
    await server.close()
    async with serving() as successor:
        print(await trip(await successor.bind(bound)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for thing in (*others, *clients, *pair):
        thing.close()

hear, told = os.pipe()
asyncio.run(main(sys.argv[1]))
"""


@linux
@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "ipc://{}/socket"])
async def test_a_child_makes_its_own_and_leaves_its_parents_ports_free(
    program: Program, tmp_path: Path, endpoint: str
) -> None:
    process = await program(IN_ONE_PROCESS, endpoint.format(tmp_path))
    assert await line_of(process) == "True"
    assert await soon(process.wait()) == 0


LOCKED = """
import os, sys
from mpzmq import blocking
from mpzmq.transport.libzmq import shared_context

with blocking.connect(sys.argv[1]) as container:
    with shared_context._lock:  # as another thread of the parent has it that connects or closes
        child = os.fork()
        if not child:
            with blocking.connect(sys.argv[1]) as own:
                print(own.request("x"), flush=True)
            os._exit(0)
    os.waitpid(child, 0)
    print(container.request("y"), flush=True)
"""


async def test_a_child_of_a_process_in_which_another_thread_connects(program: Program, scene: Scene) -> None:
    process = await program(LOCKED, scene.endpoint)
    assert [await line_of(process), await line_of(process)] == ["x", "y"]
    assert await soon(process.wait(), SECONDS) == 0
