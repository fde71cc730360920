"""What the files beside this one start."""

from __future__ import annotations

import asyncio

from mpzmq import ContainerServer

server = ContainerServer(name="calculator")


@server.function
async def add(a: float, b: float, *, seconds: float = 0.0) -> float:
    """Returns the sum, after some seconds: to see a drain wait for it."""
    await asyncio.sleep(seconds)
    return a + b
