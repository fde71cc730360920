"""A gateway behind a real uvicorn, on a port of this host."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["listening", "said"]


@contextlib.asynccontextmanager
async def listening(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serves an application; yields its ``host:port``."""
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5, **options)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]  # pytest has its own
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            await until(lambda: server.started or serving.done())
            yield f"127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            await soon(serving)


async def said(address: str, request: bytes) -> bytes:
    """Says that on a connection of its own, and reads to the end."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        return await soon(reader.read())
    finally:
        writer.close()
        await writer.wait_closed()
