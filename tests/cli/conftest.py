"""The command, run as users run it: as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent.parent
SECONDS = 40


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, without what changes how a command shows itself."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "TERM": "xterm-256color"} | changes


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


def children(parent: int, count: int, seconds: float = 30.0) -> list[int]:
    """The processes that a process has started, once there are so many."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and _parent(pid) == parent]
        if len(found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError(f"process {parent} has not started {count} processes within {seconds:g} s")


def survivors(pids: list[int], seconds: float = 10.0) -> list[int]:
    """Those of the processes that have not ended within some seconds; they are killed now."""
    deadline = time.monotonic() + seconds
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return alive


def _default_signals() -> None:
    # A shell that starts pytest in the background makes it, and all its children, ignore SIGINT.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``mpzmq`` and lets it run; it is ended after the test."""
    processes: list[subprocess.Popen[str]] = []

    def started(*args: str, terminal: int | None = None, **changes: str) -> subprocess.Popen[str]:
        output = subprocess.PIPE if terminal is None else terminal
        process = subprocess.Popen(
            [sys.executable, "-m", "mpzmq", *args],
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=output,
            stderr=output,
            text=True,
            env=environment(**changes),
            start_new_session=True,
            preexec_fn=_default_signals,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
