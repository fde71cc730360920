"""The example in Node, with its packages, and containers that are commands."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING, Self

import pytest

from tests.support import ROOT
from tests.support.shared import one_at_a_time
from tests.support.waiting import soon

if TYPE_CHECKING:
    import signal
    from pathlib import Path

EXAMPLE = ROOT / "examples" / "node"


class NodeMissing(Exception):
    """The example cannot run here; the text says why."""


def installed(folder: Path) -> Path:
    """The example with its packages, in a copy: the tree stays as it is.

    Raises:
        NodeMissing: node or npm is not here, or npm cannot install the packages.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NodeMissing("node and npm are not installed")
    copy = folder / "node_example"
    with one_at_a_time(folder, "node_example"):
        if not (copy / "node_modules" / "zeromq").is_dir():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("node_modules"))
            command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
            try:
                subprocess.run(command, cwd=copy, check=True, capture_output=True, text=True, timeout=120)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                raise NodeMissing(f"npm could not install zeromq and @msgpack/msgpack: {error}") from error
    return copy


@pytest.fixture(scope="session")
def node_example(shared_folder: Path) -> Path:
    """The installed example, shared by all processes of a run."""
    try:
        return installed(shared_folder)
    except NodeMissing as error:
        pytest.skip(str(error))


class Served:
    """A container that a command serves: it takes an endpoint as its last argument, and prints the one that it has.

    Use it as ``async with Served([...], folder) as served:``.
    """

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self.endpoint = "tcp://127.0.0.1:0"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self._release()

    async def start(self) -> None:
        """Starts it, the second time at the same endpoint."""
        command = [*self._command, self.endpoint]
        self.process = await asyncio.create_subprocess_exec(*command, cwd=self._folder, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout is not None
        self.endpoint = (await soon(self.process.stdout.readline())).decode().strip()
        assert self.endpoint, "it did not serve"

    async def end(self, number: signal.Signals) -> int:
        """Sends it a signal, and waits for its end; returns its exit code."""
        self.process.send_signal(number)
        code = await soon(self.process.wait())
        self._release()
        return code

    def _release(self) -> None:
        self.process._transport.close()  # type: ignore[attr-defined]
