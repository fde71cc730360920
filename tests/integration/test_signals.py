"""How a served process ends: by signals that come together, while its loop is blocked, or past deaf handlers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from asyncio.subprocess import Process

from tests.support import ROOT

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


async def served() -> tuple[Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
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
