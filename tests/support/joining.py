"""A container that dials in, in a process of its own: ``python -m tests.support.joining ENDPOINT NAME``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from .container import quick

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TOKEN", "joining_process"]

TOKEN = "a token of the tests"
ROOT = Path(__file__).parent.parent.parent


@contextlib.contextmanager
def joining_process(endpoint: str, name: str = "process") -> Iterator[subprocess.Popen[bytes]]:
    """Starts one. It dials for as long as it lives, ends at SIGTERM by a drain, and is killed at the end."""
    command = [sys.executable, "-m", "tests.support.joining", endpoint, name]
    # It reads the other end of its standard input, so that it ends with this process, however that ends.
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def end_with_parent() -> None:
    """The parent holds the other end of standard input, however it ends."""
    while os.read(0, 1):
        pass
    os._exit(9)


async def main(endpoint: str, name: str) -> None:
    """Serves the engine there until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with quick:
        await quick.join(endpoint, token=TOKEN, name=name, labels={"at": name}, wait=False, insecure=True)
        await stopped.wait()
        await quick.drain(8.0)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(main(*sys.argv[1:]))
