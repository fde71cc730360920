"""A container process, seen from the demo."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ...testing.process import ContainerProcess, StartFailed
from ..outcome import CommandFailed

__all__ = ["Child"]

SERVER = "mpzmq.cli.demo.containers:server"
# Where this package lies, and not the current folder: what lies there is none of the demo's business.
FOLDER = Path(__file__).parents[2]


class Child:
    """One container: a process that can be killed and started again on the port it had."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pids: list[int] = []
        self._process = ContainerProcess(SERVER, folder=FOLDER, name=name)

    @property
    def address(self) -> str:
        """Where it serves."""
        return self._process.endpoint.removeprefix("tcp://")

    async def start(self) -> None:
        """Starts the process, after the end of the one before, and waits until it serves.

        Raises:
            CommandFailed: it ended, or did not say in time where it serves.
        """
        try:
            await asyncio.to_thread(self._process.restart if self.pids else self._process.start)
        except StartFailed as error:
            raise CommandFailed(str(error)) from None
        self.pids.append(self._process.pid)

    def kill(self) -> None:
        """SIGKILL: the process has no say in it."""
        self._process.kill()

    async def stop(self) -> None:
        """Ends the process, if there is one."""
        await asyncio.to_thread(self._process.stop)
