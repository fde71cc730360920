"""Containers as processes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Process:
    """One container process, and its endpoint."""

    def __init__(self, endpoint: str = "tcp://127.0.0.1:0") -> None:
        command = [sys.executable, "-m", "tests.promises.container", endpoint]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().strip()
        assert self.endpoint, "the container did not start"

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Kills and reaps it; idempotent."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts container processes; they are ended after the test."""
    processes: list[Process] = []

    def started(endpoint: str = "tcp://127.0.0.1:0") -> Process:
        processes.append(Process(endpoint))
        return processes[-1]

    yield started
    for process in processes:
        process.end()
