"""A container that runs out of file descriptors while it binds, in a process of its own.

``python -m tests.chaos.starved_container`` writes what became of each bind to its standard output, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

from mpzmq import ContainerServer

from .descriptors import only_so_many_more

ENOUGH = 40
"""Descriptors with which a bind succeeds in any case."""


async def refused(server: ContainerServer, count: int) -> str:
    """What bind() raises with so few descriptors; "" if they were enough."""
    with only_so_many_more(count):
        try:
            await server.bind("tcp://127.0.0.1:0")
        except OSError as error:
            return f"{type(error).__name__}: {error}"
    return ""


async def main() -> list[str]:
    """Of the first server of a process, which starts libzmq's threads, too."""
    told = []
    for count in range(ENOUGH):
        async with ContainerServer() as server:
            told.append(await refused(server, count))
            await server.bind("tcp://127.0.0.1:0")
            if not told[-1]:
                break
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main())))
