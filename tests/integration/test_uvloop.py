"""What uvloop does otherwise than asyncio, in a process of its own: libuv keeps descriptors for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.waiting import scaled

ARM_TWICE = """
import asyncio, uuid, uvloop
from mpzmq.config import HeartbeatPolicy, Limits
from mpzmq.container.session_driver import SessionDriver
from mpzmq.handlers.registry import Registry
from tests.integration.test_refused_sends import Full

async def arm_twice():
    driver = SessionDriver(uuid.uuid4(), "hub", Registry(), HeartbeatPolicy(), Limits(), None, Full())
    now = asyncio.get_running_loop().time()
    for deadline in (now - 1.0, now - 2.0):
        driver.dispatcher.deadlines.add(deadline)
        driver._timers.arm()
    await driver.close()

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(arm_twice())
"""


def test_deadlines_that_have_come_already() -> None:
    """``call_at()`` for the past returns a handle without ``when()`` there."""
    pytest.importorskip("uvloop", reason="the extra fast is not installed")
    done = subprocess.run(
        [sys.executable, "-c", ARM_TWICE], cwd=ROOT, capture_output=True, text=True, timeout=scaled(30), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


BUSY_LINK = """
import asyncio, sys, uuid, uvloop
from mpzmq import ComputerEngineWorker, ContainerServer, HeartbeatPolicy

async def never_silent():
    server = ContainerServer()
    server.function(lambda: None, name="nothing")
    async with server, ComputerEngineWorker(heartbeat=HeartbeatPolicy(interval=0.1, down_after=5.0)) as worker:
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        async with asyncio.timeout(20):
            while (rtt := container.statistics().rtt) is None:
                await container.call("nothing")
        print(rtt)

factory = uvloop.new_event_loop if sys.argv[1] == "uvloop" else None
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(never_silent())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_round_trip_of_a_link_that_is_never_silent(loop: str) -> None:
    """Its own clock counts whole milliseconds; a PING on loopback takes a part of one."""
    pytest.importorskip("uvloop", reason="the extra fast is not installed")
    done = subprocess.run(
        [sys.executable, "-c", BUSY_LINK, loop], cwd=ROOT, capture_output=True, text=True, timeout=scaled(40),
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    milliseconds = 1000 * float(done.stdout)
    assert milliseconds > 0 and abs(milliseconds - round(milliseconds)) > 1e-6
