"""How a served process ends: by signals that come together, while its loop is blocked, or past deaf handlers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, Executed, LinkState, RequestError
from tests.support import ROOT
from tests.support.waiting import soon

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

PROGRAM = """
import asyncio, time
from mpzmq import ContainerServer

server = ContainerServer(name="ends")

@server.function
def block(seconds: float) -> None:
    print("blocked", flush=True)
    time.sleep(seconds)

@server.function
async def deaf() -> None:
    print("deaf", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

server.run("tcp://127.0.0.1:0", drain_timeout=0.5, on_bound=lambda endpoint: print(endpoint, flush=True))
"""
CALLER = """
import sys
from mpzmq import blocking

with blocking.connect(sys.argv[1]) as container:
    container.call(*eval(sys.argv[2]))
"""


BLOCKED = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
"""


async def served(before: str = "") -> tuple[Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", before + PROGRAM, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()


async def ended(process: Process) -> tuple[int | None, str]:
    _, stderr = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, stderr.decode()


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)])
async def test_signals_that_come_together_end_it(numbers: tuple[signal.Signals, ...]) -> None:
    process, _ = await served()
    for number in numbers:
        os.kill(process.pid, number)
    assert await ended(process) == (0, "")


async def test_a_signal_that_whoever_started_it_has_blocked_ends_it() -> None:
    process, _ = await served(BLOCKED)
    process.terminate()
    assert await ended(process) == (0, "")


async def test_the_end_of_its_terminal_drains_it_however_often_it_is_told() -> None:
    process, endpoint = await served()
    caller = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLER, endpoint, repr(("block", 0.3)), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"blocked\n"
    for _ in range(3):
        os.kill(process.pid, signal.SIGHUP)
    assert (await ended(process))[0] == 0
    _, stderr = await asyncio.wait_for(caller.communicate(), 20)
    assert (caller.returncode, stderr) == (0, b"")  # a second signal would have taken its answer


@pytest.mark.parametrize(
    "before",
    [
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n",
        "import signal; signal.signal(signal.SIGHUP, lambda *_: print('mine', flush=True))\n",
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])\n",
    ],
    ids=["ignored", "handled", "blocked"],
)
async def test_sighup_that_means_something_else_is_left_alone(before: str) -> None:
    process, endpoint = await served(before)
    os.kill(process.pid, signal.SIGHUP)
    async with ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), endpoint)
        assert (await container.describe()).name == "ends"
    process.terminate()
    assert await ended(process) == (0, "")


@pytest.mark.parametrize(("call", "word"), [(("block", 1.0), b"blocked\n"), (("deaf",), b"deaf\n")])
async def test_a_handler_that_does_not_give_way_keeps_it_no_longer_than_it_has_to(
    call: tuple[object, ...], word: bytes
) -> None:
    process, endpoint = await served()
    caller = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLER, endpoint, repr(call), cwd=ROOT, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == word
    for _ in range(2):
        os.kill(process.pid, signal.SIGTERM)
    code, stderr = await ended(process)
    assert code == 0 and "Traceback" not in stderr and "destroyed" not in stderr
    await asyncio.wait_for(caller.wait(), 20)


ODD = """
import asyncio, contextlib, multiprocessing, os, signal, sys, time
from mpzmq import ContainerServer
from mpzmq.container import signals
from mpzmq.container.process import loop_factory

how, where, loop = sys.argv[1:]

async def hang():
    await asyncio.Event().wait()

async def deaf():
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

async def block():
    signals.SECOND_TIMEOUT = 0.3
    time.sleep(60)

async def thread():
    await asyncio.to_thread(time.sleep, 60)

async def reach(place):
    print(place, flush=True)
    if place == where:
        await globals()[how]()

@contextlib.asynccontextmanager
async def lifespan(server):
    await reach("start")
    yield
    await reach("end")

server = ContainerServer(lifespan=lifespan)
before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

@server.function
async def handler():
    await reach("handler")

@server.function
async def child(thread):
    def fork():
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        process.start()
        return process
    process = await asyncio.to_thread(fork) if thread else fork()
    process.terminate()
    await asyncio.to_thread(process.join)
    return process.exitcode

def told(endpoint):
    print(endpoint, flush=True)

async def main():
    async with server:
        binding = asyncio.create_task(server.bind("tcp://127.0.0.1:0"))
        binding.add_done_callback(lambda done: done.exception() or told(done.result()))
        await server.serve_forever(handle_signals=True, drain_timeout=0.3)

if loop.startswith("own-"):
    with asyncio.Runner(loop_factory=loop_factory(loop.removeprefix("own-"))) as runner:
        runner.run(main())
else:
    server.run("tcp://127.0.0.1:0", loop=loop, drain_timeout=0.3, on_bound=told)
assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
print("returned", flush=True)
"""
LOOPS = ["asyncio", pytest.param("uvloop", marks=pytest.mark.skipif(find_spec("uvloop") is None, reason="no uvloop"))]


@contextlib.asynccontextmanager
async def odd(how: str, where: str, loop: str) -> AsyncIterator[Process]:
    """A process that does something odd in a place: at the start or end of its lifespan, or in a handler."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", ODD, how, where, loop,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def told(process: Process, word: str) -> str:
    """Reads on to a line that begins with a word."""
    assert process.stdout is not None
    while not (line := (await soon(process.stdout.readline())).decode()).startswith(word):
        assert line, f"the process has ended before it said {word!r}"
    return line.strip()


@pytest.mark.parametrize("loop", [*LOOPS, "own-asyncio"])
async def test_a_signal_ends_the_start_of_a_lifespan(loop: str) -> None:
    async with odd("hang", "start", loop) as process:
        await told(process, "start")
        process.send_signal(signal.SIGTERM)
        await told(process, "returned")
        assert await ended(process) == (0, "")


@pytest.mark.parametrize(
    ("how", "where", "loop"),
    [
        ("deaf", "start", "asyncio"),
        ("hang", "end", "asyncio"),
        ("hang", "end", "uvloop"),
        ("hang", "end", "own-asyncio"),
        ("deaf", "end", "uvloop"),
        ("thread", "end", "asyncio"),
    ],
)
async def test_a_second_signal_ends_a_lifespan_that_does_not_end(how: str, where: str, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    async with odd(how, where, loop) as process:
        if where == "end":
            await told(process, "tcp:")
            process.send_signal(signal.SIGTERM)
        await told(process, where)
        if where == "start":
            process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        await told(process, "returned")
        code, stderr = await ended(process)
        assert code == 0
        assert "Traceback" not in stderr
        assert "destroyed" not in stderr


@pytest.mark.parametrize(
    ("loop", "number", "code"),
    [("asyncio", signal.SIGTERM, 143), ("uvloop", signal.SIGINT, 130), ("own-asyncio", signal.SIGTERM, 143)],
)
async def test_a_second_signal_ends_a_process_whose_event_loop_is_blocked(
    loop: str, number: signal.Signals, code: int
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    async with odd("block", "start", loop) as process:
        await told(process, "start")
        process.send_signal(signal.SIGINT if number is signal.SIGTERM else signal.SIGTERM)
        process.send_signal(number)
        assert await soon(process.wait()) in (code, 273 - code)  # two at once are taken in the order of their numbers
        _, stderr = await ended(process)
        assert "after a second SIG" in stderr


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_thread_of_to_thread_keeps_neither_run_nor_the_process(loop: str) -> None:
    async with odd("thread", "handler", loop) as process:
        endpoint = await told(process, "tcp:")
        async with ComputerEngineWorker() as worker:
            container = await worker.connect(uuid.uuid4(), endpoint)
            call = asyncio.create_task(container.call("handler"))
            await told(process, "handler")
            process.send_signal(signal.SIGTERM)
            with pytest.raises(RequestError) as caught:
                await soon(call)
            assert caught.value.executed is Executed.YES
        await told(process, "returned")
        code, stderr = await ended(process)
        assert code == 0
        assert stderr == "1 threads of asyncio.to_thread() did not end, and are left behind\n"


@pytest.mark.parametrize(("loop", "thread"), [("asyncio", False), ("uvloop", True)])
async def test_a_signal_to_a_forked_child_is_its_own(loop: str, thread: bool) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    async with odd("", "", loop) as process:
        endpoint = await told(process, "tcp:")
        async with ComputerEngineWorker() as worker:
            container = await worker.connect(uuid.uuid4(), endpoint)
            assert await soon(container.call("child", thread)) == -signal.SIGTERM
            assert await soon(container.call("child", thread)) == -signal.SIGTERM
            assert container.state is LinkState.ALIVE
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == (0, "")
