"""`examples/deploy/`: what the command prints, and an image whose process ends when it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker
from tests.manifests.understood import understood
from tests.support import ROOT
from tests.support.commands import called, children, environment
from tests.support.waiting import scaled, soon

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "examples" / "deploy"
FIRST_PROCESS = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
MADE = re.findall(r"^\| \[`(.+)`\]\(.+\) \| `mpzmq (manifest .+)` \|$", (DEPLOY / "README.md").read_text("utf-8"), re.M)


def dockerfile() -> list[list[str]]:
    """Its instructions, each with its words."""
    lines = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", "").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def words_of(instruction: str) -> list[str]:
    """The list behind the last instruction of that name."""
    *_, last = (line for line in dockerfile() if line[0] == instruction)
    words: list[str] = json.loads(" ".join(last[1:]))
    return words


def test_each_file_is_told() -> None:
    others = {"README.md", "Dockerfile", "calculator.py", "__pycache__"}
    assert {name for name, _ in MADE} == {path.name for path in DEPLOY.iterdir()} - others


@pytest.mark.parametrize(("name", "command"), MADE)
def test_each_file_is_what_the_command_prints(name: str, command: str) -> None:
    printed = called(*shlex.split(command))
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout == (DEPLOY / name).read_text("utf-8")


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody() -> None:
    sources = [
        word
        for instruction, *words in dockerfile()
        if instruction == "COPY" and not words[0].startswith("--from=")
        for word in words[:-1]
    ]
    assert "mpzmq/" in sources
    assert all((ROOT / source).exists() for source in sources)
    users = [words for instruction, *words in dockerfile() if instruction == "USER"]
    assert users == [["10001:10001"]]
    assert [words[1:] for words in dockerfile() if words[0] == "FROM"] == [
        ["python:3.13-slim", "AS", "build"],
        ["python:3.13-slim"],
    ]
    understood(words_of("ENTRYPOINT") + words_of("CMD"))


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*FIRST_PROCESS, "true"], check=False).returncode != 0,
    reason="namespaces of processes are not allowed here",
)
async def test_its_process_drains_as_process_1(tmp_path: Path) -> None:
    program, *words = words_of("ENTRYPOINT")
    script = tmp_path / program
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m mpzmq "$@"\n')
    script.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        *FIRST_PROCESS, script, *words, "--bind=tcp://127.0.0.1:0",
        cwd=DEPLOY, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        endpoint = (await soon(process.stdout.readline(), scaled(40))).decode().strip()
        async with ComputerEngineWorker() as worker:
            calculator = await worker.connect(endpoint)
            slow = asyncio.create_task(calculator.call("add", 1, 2, seconds=0.5))
            assert await soon(calculator.call("add", 1, 1)) == 2  # the other has begun
            (first,) = children(process.pid, 1)
            os.kill(first, signal.SIGTERM)
            assert await soon(slow) == 3
        _, log = await soon(process.communicate(), scaled(40))
        assert process.returncode == 0, log.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
