"""A server and a worker to look at: ``python -m tests.admin.watched docs/admin.png`` makes the picture in the docs.

``python -m tests.admin.watched --serve`` is the process that the tests of the page look at: it prints the URL of its
server and that of its worker, and calls as often as a line on stdin says.
"""

# ruff: noqa: T201  # a program for a terminal

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from mpzmq import ComputerEngineWorker, ContainerServer, HeartbeatPolicy, RemoteError, RequestError
from tests.support.chromium import opened

MARKUP = "<img src=x onerror=document.title='hit'>"
"""What a peer may call itself."""

SECONDS = 40
"""For which the picture is drawn."""


def served() -> ContainerServer:
    server = ContainerServer(name="calculator")

    @server.function
    async def price(item: int) -> int:
        await asyncio.sleep(random.uniform(0.004, 0.012))
        return item

    @server.function
    async def forecast(day: int) -> int:
        await asyncio.sleep(random.uniform(0.02, 0.09))
        if random.random() < 0.04:
            raise RemoteError("no data", code="no_data")
        return day

    @server.function(name=MARKUP)
    async def marked() -> None:
        """Its name is markup."""

    return server


async def serve() -> None:
    async with served() as server, ComputerEngineWorker(heartbeat=HeartbeatPolicy(interval=0.5)) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        print(await server.bind_admin("127.0.0.1:0"), await worker.bind_admin("127.0.0.1:0"), flush=True)
        container = await worker.connect(endpoint, name=MARKUP)
        await worker.connect("127.0.0.1:1", name="away", wait=False)
        await worker.group([endpoint], name="prices")
        await container.call(MARKUP)
        while calls := await asyncio.to_thread(sys.stdin.readline):
            await asyncio.gather(*(container.call("price", number) for number in range(int(calls))))


async def picture() -> bytes:
    logging.disable()  # its handlers fail on purpose
    async with served() as server, ComputerEngineWorker() as worker:
        url = await server.bind_admin("127.0.0.1:0")
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))

        async def ask() -> None:
            while True:
                with contextlib.suppress(RequestError):
                    await container.call(random.choice(("price", "price", "price", "forecast")), 1)
                await asyncio.sleep(random.uniform(0.0, 0.2))

        with tempfile.TemporaryDirectory() as profile:
            async with opened(Path(profile)) as page:
                await page.show(url, width=1000, height=400)
                callers = []
                for _ in range(SECONDS):
                    callers.append(asyncio.create_task(ask()))
                    await asyncio.sleep(1)
                image = await page.picture()
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
    return image


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        asyncio.run(serve())
    elif len(sys.argv) == 2:
        print(f"{sys.argv[1]}: {Path(sys.argv[1]).write_bytes(asyncio.run(picture()))} bytes")
    else:
        sys.exit(subprocess.list2cmdline([sys.executable, "-m", "tests.admin.watched", "FILE.png"]))
