"""What `mpzmq manifest --slurm` prints is a good script, and starts containers that an engine finds and that drain."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, LinkState
from mpzmq.manifests import Workload, slurm
from tests.manifests.understood import understood
from tests.manifests.validators import validate
from tests.support import ROOT
from tests.support.commands import environment
from tests.support.waiting import SECONDS, scaled, soon, until

if TYPE_CHECKING:
    from pathlib import Path

WORKLOAD = Workload(server="calculator:server", name="calculator", replicas=2, drain_timeout=20, cpus=3, memory=1000)

# What srun does, as far as this script is concerned: so many processes, each with a signal when it has one.
SRUN = """\
#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for ((task = 0; task < SLURM_NTASKS; task++)); do "$@" & done
trap 'kill -TERM $(jobs -p)' TERM
until wait; do :; done
"""


@pytest.mark.parametrize("keys", [None, "/scratch/keys"])
@pytest.mark.parametrize("folder", [None, "/scratch/ä.é"])
def test_it_is_a_good_script(tmp_path: Path, keys: str | None, folder: str | None) -> None:
    file = tmp_path / "calculator.sbatch"
    file.write_text(slurm(WORKLOAD, folder, announce=folder, keys=keys))
    validate("shellcheck", "--norc", file)


def test_what_it_asks_slurm_for() -> None:
    head, _, body = slurm(WORKLOAD).partition("set -euo pipefail")
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.+)$", head, re.M))
    assert "#SBATCH" not in body  # Slurm stops looking at the first command
    assert (asked["job-name"], asked["ntasks"], asked["cpus-per-task"]) == ("calculator", "2", "3")
    assert int(asked["mem-per-cpu"].removesuffix("M")) * 3 >= 1000
    name, seconds = asked["signal"].split("@")
    assert name == "TERM"
    assert int(seconds) >= 20 + 30


@pytest.mark.parametrize("keys", [None, "/scratch/keys"])
def test_each_task_runs_a_command_that_serve_understands(tmp_path: Path, keys: str | None) -> None:
    text = slurm(WORKLOAD, str(tmp_path), announce="/scratch/members", keys=keys)
    words = shlex.split(text[text.index("    mpzmq serve") :].replace("\\\n", ""))
    understood(words)
    assert ("--insecure" in words) is (keys is None)
    assert f"--app-dir={tmp_path}" in words


async def test_an_engine_finds_its_containers_and_they_drain(tmp_path: Path) -> None:
    (tmp_path / "calculator.py").write_bytes((ROOT / "examples" / "deploy" / "calculator.py").read_bytes())
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(SRUN)
    (programs / "mpzmq").write_text(f'#!/bin/sh\nexec {sys.executable} -m mpzmq "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    script = tmp_path / "calculator.sbatch"
    script.write_text(slurm(WORKLOAD))
    given = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_NTASKS": "2", "SLURM_CPUS_PER_TASK": "3"}
    job = await asyncio.create_subprocess_exec(
        "bash", script, env=environment(PATH=f"{programs}:{os.environ['PATH']}", **given), cwd="/",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        async with ComputerEngineWorker() as worker:
            group = await worker.group(f"dir://{tmp_path}/calculator.announced")
            await until(lambda: [one.state for one in group.members] == [LinkState.ALIVE] * 2, 3 * SECONDS)
            members = [group.handle(one.name) for one in group.members]
            slow = [asyncio.create_task(one.call("add", 1, number, seconds=0.5)) for number, one in enumerate(members)]
            await asyncio.gather(*(one.call("add", 1, 2) for one in members))  # they start in their order
            job.send_signal(signal.SIGTERM)
            assert await soon(asyncio.gather(*slow), scaled(20)) == [1, 2]
        _, log = await soon(job.communicate(), scaled(40))
        assert job.returncode == 0, log.decode()
    finally:
        if job.returncode is None:
            os.killpg(job.pid, signal.SIGKILL)
            await job.wait()
