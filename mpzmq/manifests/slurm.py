"""A batch script for Slurm."""

from __future__ import annotations

import math
from shlex import quote

from .workload import MADE_BY, Workload, check_folder

__all__ = ["slurm"]


def slurm(
    workload: Workload, app_dir: str | None = None, *, announce: str | None = None, keys: str | None = None
) -> str:
    """What ``sbatch`` takes.

    Args:
        workload: what runs. Ports are any that are free: a node may get several containers.
        app_dir: where the module is; None: where the job was submitted.
        announce: a folder on storage that all nodes and the engine share; None: ``NAME.announced`` where the job was
            submitted.
        keys: a folder with ``container.key`` and the folder ``allowed``; None: whoever reaches the nodes may call
            everything.

    Raises:
        ValueError: a folder cannot be written into a script.
    """
    module = '"$SLURM_SUBMIT_DIR"' if app_dir is None else quote(check_folder(app_dir))
    members = f'"$SLURM_SUBMIT_DIR"/{workload.name}.announced' if announce is None else quote(check_folder(announce))
    if keys is None:
        warning = """\
# Without keys, every user who reaches the nodes may call every function: make this file with --keys where that matters.
"""
        open_to = "--insecure"
    else:
        folder = check_folder(keys)
        warning = ""
        open_to = f"--keys={quote(f'{folder}/container.key')} --allow={quote(f'{folder}/allowed')}"
    return f"""\
#!/bin/bash
{MADE_BY}
# Submit it with: sbatch {workload.name}.sbatch
#
# One container for each task:
#SBATCH --job-name={workload.name}
#SBATCH --ntasks={workload.replicas}
#SBATCH --cpus-per-task={workload.cpus}
#SBATCH --mem-per-cpu={math.ceil(workload.memory / workload.cpus)}M
#SBATCH --time=08:00:00
# Before the time is up, SIGTERM to each: {workload.stop_reason}.
# scancel sends it, too, and kills after the cluster's KillWait (30 s unless it was changed).
#SBATCH --signal=TERM@{workload.stop_seconds}
#SBATCH --output=%x-%j.log
set -euo pipefail

# Here goes what makes mpzmq be found: module load python, source .venv/bin/activate.

# Each container says in a file here where it serves. The engine passes dir://THIS/FOLDER to worker.group(), and sees
# them come and go.
announced={members}

{warning}# Announced is the address by which the node reaches others; for a network of another kind, bind to its own.
# A task that ends leaves the others alone; Slurm does not start it again.
exec srun --ntasks="$SLURM_NTASKS" --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 --wait=0 --label \\
    mpzmq serve {quote(workload.server)} \\
    --app-dir={module} --bind=tcp://0.0.0.0:0 {open_to} \\
    --announce="$announced" --drain-timeout={workload.drain_timeout:g}
"""
