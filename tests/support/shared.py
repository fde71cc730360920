"""What a run of the tests makes once, though several processes of xdist need it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run have."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextlib.contextmanager
def one_at_a_time(folder: Path, name: str) -> Iterator[None]:
    """Waits until no other process is in here under this name; the first makes what the others find."""
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def strict_mypy(shared_folder: Path, folder: Path, *files: str) -> subprocess.CompletedProcess[str]:
    """Runs mypy over files of a folder. What it has found out about this library serves the next run."""
    cache = str(shared_folder / "mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", cache, *files]
    with one_at_a_time(shared_folder, "mypy"):
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=scaled(55.0), check=False)
