"""A container and an engine that are watched over HTTP, and what there is to see; ``--stay`` keeps their pages."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import urllib.request
from typing import Any

from mpzmq import ComputerEngineWorker, ContainerServer, RemoteError

server = ContainerServer(name="calculator")


@server.function
async def divide(one: int, other: int) -> int:
    return one // other


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as reply:
        return reply.read().decode()


async def main(*, stay: bool) -> None:
    async with server, ComputerEngineWorker() as worker:
        pages = await server.bind_admin("127.0.0.1:0"), await worker.bind_admin("127.0.0.1:0")
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"), name="calculator")
        for number in range(10):
            with contextlib.suppress(RemoteError):
                await container.call("divide", 10, number)

        print("ready:", (await asyncio.to_thread(fetch, f"{pages[0]}readyz")).strip())
        (function,) = json.loads(await asyncio.to_thread(fetch, f"{pages[0]}status.json"))["functions"]
        print(function["name"], function["replied"], "replied,", function["failed"], "failed")
        (link,) = json.loads(await asyncio.to_thread(fetch, f"{pages[1]}status.json"))["containers"]
        print(link["name"], link["state"], link["errors"])
        while stay:
            print("the container's page:", pages[0], "the engine's:", pages[1], "(Ctrl-C ends it)")
            await asyncio.sleep(3600)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stay", action="store_true", help="serve the pages until Ctrl-C")
    asyncio.run(main(stay=parser.parse_args().stay))
