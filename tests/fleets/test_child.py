"""What ends with what: children with their parents, whatever else is open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mpzmq.fleets.child import inherited_path
from tests.support import ROOT
from tests.support.commands import SECONDS, environment, is_alive, survivors
from tests.support.waiting import scaled

CHILD = """
import {before}time
from mpzmq.fleets.lifeline import Lifeline

Lifeline()
print("here", flush=True)
time.sleep(3600)
"""
WITHOUT_SIGNALS = "fcntl; [delattr(fcntl, name) for name in ('F_SETSIG',) if hasattr(fcntl, name)]\nimport "

PARENT = """
import os, signal, sys, time
from mpzmq.fleets.child import Child

command = [sys.executable, "-c", sys.argv[1]]
child = Child(command, stderr=2, env={})
forked = os.fork()
if not forked:
    os.close(2)  # it would keep the pipe of the test open
    time.sleep(3600)
print(child.pid, forked, flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("before", ["", WITHOUT_SIGNALS], ids=["by the system", "by a thread"])
@pytest.mark.parametrize("is_late", [True, False], ids=["while it runs", "before it has begun"])
def test_a_child_ends_with_its_parent(before: str, is_late: bool) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(before=before)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=ROOT,
        start_new_session=True,
    )
    assert child.stdin is not None and child.stderr is not None
    if is_late:
        assert child.stderr.readline() == b"here\n"  # what it prints goes there
    child.stdin.close()
    assert child.wait(SECONDS) == -signal.SIGKILL
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def test_only_texts_are_folders_of_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["/one", Path("/two"), 3, ""])
    assert inherited_path() == {"PYTHONPATH": f"/one{os.pathsep}{folder}"}
    folder.rmdir()
    assert inherited_path() == {"PYTHONPATH": f"/one{os.pathsep}."}


def test_a_fork_of_the_parent_does_not_keep_its_children() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD.format(before="")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=ROOT,
    )
    assert parent.stdout is not None and parent.stderr is not None
    child, forked = map(int, parent.stdout.readline().split())
    try:
        assert parent.stderr.readline() == b"here\n"
        parent.kill()
        parent.wait()
        assert survivors([child], scaled(3.0)) == []
        assert is_alive(forked)
    finally:
        os.kill(forked, signal.SIGKILL)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        parent.stderr.close()
