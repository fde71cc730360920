"""A server and a worker in one event loop."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from uuid import uuid4

from ..common.set_module import set_module
from ..config import ReconnectPolicy
from ..engine.worker import ComputerEngineWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..container.server import ContainerServer
    from ..engine.writer import ComputerEngineWriter
    from ..security.credentials import Security

__all__ = ["ANY_PORT", "connected", "quick_worker"]

ANY_PORT = "tcp://127.0.0.1:0"


def quick_worker(security: Security | None = None) -> ComputerEngineWorker:
    """A worker that redials every 50 ms: nobody wants to wait for a second in a test."""
    return ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.05), security=security)


@set_module("mpzmq.testing")
@contextlib.asynccontextmanager
async def connected(
    server: ContainerServer, *, name: str | None = None, security: Security | None = None
) -> AsyncIterator[ComputerEngineWriter]:
    """Serves on a free port of 127.0.0.1, and yields a handle that is connected to it.

    Everything is real: the sockets, the bytes and the errors. The handle belongs to a worker of its own. At the end the
    worker is closed, then the server, which can be used again afterwards.

    Args:
        server: is entered and closed here; do not enter it yourself.
        name: what the container is called in errors and events; by default the name of the server.
        security: the handle's keys, for a server that has some.
    """
    async with server:
        endpoint = await server.bind(ANY_PORT)
        async with quick_worker(security) as worker:
            yield await worker.connect(uuid4(), endpoint, name=server.name if name is None else name)
