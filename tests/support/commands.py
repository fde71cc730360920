"""The command, run as users run it, as a process of its own, or called. And a container that it can talk to."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

from mpzmq.cli import main
from tests.support import ROOT
from tests.support.waiting import scaled

SECONDS = scaled(40.0)

SERVER = '''
import asyncio
from collections.abc import AsyncIterator
from mpzmq import ContainerServer, Refused, RemoteError

server = ContainerServer(name="desk\\x1b[31m")
cancelled = []

@server.on_invoke
async def invoked(data):
    return data

@server.function
def echo(data):
    return data

@server.function
def add(a: int, b: int = 1) -> int:
    """Adds \\x1b[2Jtwo numbers.

    Not shown.
    """
    return a + b

@server.function
async def slow(seconds):
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append(seconds)
        raise
    return seconds

@server.function
async def count(to, fail=False, **named):
    for number in range(to):
        yield number
    if named:
        yield named
    if fail:
        raise RemoteError("no more", code="funds")

@server.function
async def follow(seconds):
    yield "begun"
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append(seconds)
        raise

@server.function
async def total(numbers: AsyncIterator[int]):
    return 0

@server.function
def was_cancelled():
    return cancelled

@server.function
def fail():
    raise RemoteError("declined\\x1b[0m\\nreally", code="funds", data={"missing": 3})

@server.function
def refuse():
    raise Refused("not today")

@server.function
def running():
    """Calls at work, besides this one."""
    return server.statistics().in_flight - 1
'''


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, without what changes how a command shows itself."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "TERM": "xterm-256color"} | changes


def default_signals() -> None:
    """For a process that is to be interrupted, before it begins.

    A shell that starts pytest in the background makes it, and all its children, ignore SIGINT.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(*args: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs ``mpzmq`` to its end, with pipes for stdout and stderr."""
    return subprocess.run(
        [sys.executable, "-m", "mpzmq", *args],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(**changes),
        timeout=SECONDS,
    )


def called(*args: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs ``mpzmq`` to its end in this process: the same as `run`, without what it takes to start a process."""
    code: int | str | None
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment(**changes), clear=True),
        mock.patch.object(sys, "argv", ["mpzmq", *args]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main()
        except SystemExit as end:
            code = end.code
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess(["mpzmq", *args], code or 0, out.getvalue(), err.getvalue())


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not reaped by its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        # "pid (name) state ...": the name may have spaces and brackets of its own.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _parent(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return 0


def children(parent: int, count: int, seconds: float = SECONDS) -> list[int]:
    """The processes that a process has started, once there are so many."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and _parent(pid) == parent]
        if len(found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError(f"process {parent} has not started {count} processes within {seconds:g} s")


def survivors(pids: list[int], seconds: float = SECONDS) -> list[int]:
    """Those of the processes that have not ended within some seconds; they are killed now."""
    deadline = time.monotonic() + seconds
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return alive
