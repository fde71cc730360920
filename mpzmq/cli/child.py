"""A container process, seen from the demo."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from .outcome import CommandFailed

__all__ = ["Child"]

READY_WITHIN = 10.0
"""Seconds in which a new process has to say where it serves: Python starts slowly on a busy machine."""

STOP_WITHIN = 2.0
"""Seconds that a container has to end by itself."""


def _command(name: str, port: int) -> list[str]:
    # -m puts the current folder on the path of the new process. Where it is not on ours, a file that happens to lie
    # there and to be called like a module must not be imported.
    safe = [] if {"", os.getcwd()} & set(sys.path) else ["-P"]
    return [sys.executable, *safe, "-m", "mpzmq.cli.container", name, str(port)]


class Child:
    """One container: a process that can be killed and started again on the port it had."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.address = ""
        self.pids: list[int] = []
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the process, after the end of the one before, and waits until it serves.

        Raises:
            CommandFailed: it ended, or did not say in time where it serves.
        """
        if self._process is not None:
            await self._process.wait()
        pipe = asyncio.subprocess.PIPE
        port = int(self.address.rpartition(":")[2] or 0)
        process = await asyncio.create_subprocess_exec(
            *_command(self.name, port),
            stdin=pipe,
            stdout=pipe,
            # A Ctrl-C is for the demo, which then ends its containers.
            start_new_session=True,
        )
        self._process = process
        self.pids.append(process.pid)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(READY_WITHIN):
                line = await process.stdout.readline()
                if not line:
                    code = await process.wait()
                    raise CommandFailed(f"{self.name} ended before it served, with exit code {code}")
        except TimeoutError:
            raise CommandFailed(
                f"{self.name} did not serve within {READY_WITHIN:g} s: is this machine very busy?"
            ) from None
        self.address = line.decode().strip().removeprefix("tcp://")

    def kill(self) -> None:
        """SIGKILL: the process has no say in it."""
        assert self._process is not None
        self._process.kill()

    async def stop(self) -> None:
        """Ends the process, if there is one: its stdin ends, and where that does not help, it is killed."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN):
                await process.wait()
                return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
