"""A container follows a log file, and an engine reads its lines as they come. In between the connection breaks.

    python examples/stream_logs.py [--lines 20]

The engine stops reading when it has seen enough, which ends the function in the container. Exit code 0: every line came
once, and in its place.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mpzmq import ComputerEngineWorker, ContainerServer
from mpzmq.testing import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

server = ContainerServer(name="web-1")
followers = asyncio.Semaphore(0)
"""Released by each follower that has ended."""


@server.function
async def follow(path: str) -> AsyncIterator[str]:
    """The lines of a file, also those that are written later. It ends when nobody reads on."""
    line = ""
    try:
        with open(path, encoding="utf-8") as log:  # noqa: ASYNC230 - a local file, whose lines are short
            while True:
                line += log.readline()
                if line.endswith("\n"):
                    yield line.rstrip("\n")
                    line = ""
                else:  # the end of the file, for now
                    await asyncio.sleep(0.01)
    finally:
        followers.release()


async def write(path: Path, lines: int) -> None:
    """What the application does whose log this is: a line every 20 ms, and never an end."""
    number = 0
    with path.open("a", encoding="utf-8") as log:
        while True:
            # The one that is waited for is said to be the last; the log goes on.
            log.write(f"line {number}{' is enough' if number == lines - 1 else ''}\n")
            log.flush()
            number += 1
            await asyncio.sleep(0.02)


async def read(address: str, path: Path, lines: int, proxy: Proxy) -> list[str]:
    """The engine: reads until it has seen enough."""
    seen: list[str] = []
    async with ComputerEngineWorker().with_reconnect_interval(50) as worker:  # milliseconds
        container = await worker.connect(address, name="web-1")
        async for line in container.stream("follow", str(path), idle_timeout=30.0):
            print(line)
            seen.append(line)
            if len(seen) == lines // 2:
                print("-- the connection is cut")
                await proxy.reset()
            if line.endswith("is enough"):
                break
        # The loop was left: the container hears of it.
        await asyncio.wait_for(followers.acquire(), 30.0)
        print(f"-- the function has ended; the link came back {container.statistics().reconnects} time(s)")
    return seen


async def main(lines: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "app.log"
        path.touch()
        writing = asyncio.create_task(write(path, lines))
        try:
            async with server:
                endpoint = await server.bind("tcp://127.0.0.1:0")
                async with Proxy(endpoint) as proxy:  # a network that can be broken
                    seen = await read(proxy.endpoint, path, lines, proxy)
        finally:
            writing.cancel()
    expected = [f"line {number}" for number in range(lines - 1)] + [f"line {lines - 1} is enough"]
    if seen != expected:
        print(f"lines are missing, or came twice: {seen}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Follows a log in a container, through a broken connection.")
    parser.add_argument("--lines", type=int, default=20, help="to read (default: %(default)s)")
    sys.exit(asyncio.run(main(parser.parse_args().lines)))
