"""Threads that keep neither an event loop nor the process."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import uuid
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, ContainerServer
from mpzmq.common.daemon_threads import DaemonExecutor, DaemonThreads, in_daemon_thread
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
SECONDS = 10.0


async def test_jobs_end_with_what_they_return_or_raise() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(3)
    threads = DaemonThreads(2, "jobs")
    assert await threads.run(variable.get) == 3
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.run(lambda: next(iter(())))
    assert await in_daemon_thread("one", lambda: threading.current_thread().daemon)
    threads.close()
    with pytest.raises(RuntimeError, match="'jobs' were closed"):
        threads.run(int)


async def test_a_job_that_hangs_takes_one_thread() -> None:
    go_on, threads = threading.Event(), DaemonThreads(2, "two")
    hanging = threads.run(go_on.wait)
    hanging.cancel()
    assert await soon(asyncio.gather(*(threads.run(lambda n=n: n) for n in range(5)))) == [0, 1, 2, 3, 4]  # type: ignore[misc]
    go_on.set()
    threads.close()


@pytest.mark.parametrize("through", ["threads", "executor"])
async def test_an_idle_thread_holds_nothing_of_its_last_job(through: str) -> None:
    class Argument:
        pass

    threads, executor = DaemonThreads(1, "idle"), DaemonExecutor(1, "idle")

    async def run(job: Callable[[], object]) -> None:
        await (threads.run(job) if through == "threads" else asyncio.wrap_future(executor.submit(job)))

    argument = Argument()
    gone = weakref.ref(argument)

    def raising(argument: Argument = argument) -> None:
        raise LookupError(argument)

    with pytest.raises(LookupError):
        await run(raising)
    await run(int)
    del argument, raising
    gc.collect()
    assert gone() is None
    threads.close()
    executor.shutdown()


async def test_an_executor_for_a_loop() -> None:
    loop = asyncio.get_running_loop()
    go_on, executor = threading.Event(), DaemonExecutor(1, "loop")
    loop.set_default_executor(executor)
    assert await soon(asyncio.to_thread(int, "7")) == 7
    begun = threading.Event()

    def hang() -> bool:
        begun.set()
        return go_on.wait()

    hanging = executor.submit(hang)
    waiting = executor.submit(int)
    assert executor.unfinished == {hanging, waiting}
    assert begun.wait(SECONDS)
    executor.shutdown(cancel_futures=True)
    with pytest.raises(CancelledError):
        waiting.result(SECONDS)
    with pytest.raises(RuntimeError, match="were closed"):
        executor.submit(int)
    go_on.set()
    assert hanging.result(SECONDS) is True
    assert not executor.unfinished


HANGS = """
import asyncio, threading
from mpzmq.common.daemon_threads import DaemonExecutor, DaemonThreads

async def main():
    asyncio.get_running_loop().set_default_executor(DaemonExecutor(1, "loop"))
    waiting = asyncio.ensure_future(asyncio.to_thread(threading.Event().wait))
    alone = DaemonThreads(1, "alone").run(threading.Event().wait)
    await asyncio.sleep(0)
    waiting.cancel()

asyncio.run(main())
print("the end")
"""


def test_neither_a_loop_nor_the_process_waits_for_a_job_that_hangs() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", HANGS], cwd=ROOT, capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"the end\n", b"")


async def test_a_full_default_executor_holds_nobody() -> None:
    """Names are looked up, and the zmq context is ended, where the application cannot stand in the way."""
    go_on, loop = threading.Event(), asyncio.get_running_loop()
    executor = ThreadPoolExecutor(1)
    loop.set_default_executor(executor)
    hanging = loop.run_in_executor(None, go_on.wait)

    async def visit() -> None:
        async with ContainerServer() as server, ComputerEngineWorker() as worker:
            port = (await server.bind("localhost:0")).rpartition(":")[2]
            await worker.connect(uuid.uuid4(), f"localhost:{port}")

    try:
        await soon(visit())
    finally:
        go_on.set()
        await hanging
        executor.shutdown()
