"""A container of the demo, in a process of its own: ``python -m mpzmq.cli.container NAME PORT``.

Prints its endpoint, then serves until its stdin ends. The demo holds the other end and never writes: when the demo
ends, however it ends, its containers do too.
"""

from __future__ import annotations

import asyncio
import os
import sys

from .. import ContainerServer

__all__ = ["main"]

STDIN = 0


def _server(name: str) -> ContainerServer:
    server = ContainerServer(name=name)

    @server.function
    def echo(data: object) -> object:
        """Returns what it was given."""
        return data

    @server.function
    async def nap(seconds: float) -> None:
        """Works for a while."""
        await asyncio.sleep(seconds)

    return server


async def _serve(name: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    orphaned = asyncio.Event()

    def read() -> None:
        if not os.read(STDIN, 4096):
            loop.remove_reader(STDIN)
            orphaned.set()

    async with _server(name) as server:
        endpoint = await server.bind(("127.0.0.1", port))
        loop.add_reader(STDIN, read)
        print(endpoint, flush=True)
        await orphaned.wait()


def main() -> None:
    """Runs the container that the arguments of this process ask for."""
    name, port = sys.argv[1:]
    try:
        asyncio.run(_serve(name, int(port)))
    except OSError as error:
        sys.exit(f"{name} cannot serve on port {port} of 127.0.0.1: {error}")


if __name__ == "__main__":
    main()
