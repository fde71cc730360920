"""What the containers of the demo serve."""

from __future__ import annotations

import asyncio

from ...container.server import ContainerServer

__all__ = ["server"]

server = ContainerServer()


@server.function
def echo(data: object) -> object:
    """Returns what it was given."""
    return data


@server.function
async def nap(seconds: float) -> None:
    """Works for a while."""
    await asyncio.sleep(seconds)
