"""Commands that run beside a test."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import default_signals, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``mpzmq`` and lets it run; it is ended after the test."""
    processes: list[subprocess.Popen[str]] = []

    def started(
        *args: str,
        terminal: int | None = None,
        stdin: int = subprocess.DEVNULL,
        folder: Path | None = None,
        **changes: str,
    ) -> subprocess.Popen[str]:
        output = subprocess.PIPE if terminal is None else terminal
        process = subprocess.Popen(
            [sys.executable, "-m", "mpzmq", *args],
            stdin=stdin if terminal is None else terminal,
            stdout=output,
            stderr=output,
            text=True,
            env=environment(**changes),
            cwd=folder,
            start_new_session=True,
            preexec_fn=default_signals,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
