"""One container, for as long as a command needs it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from uuid import uuid4

from ..engine.worker import ComputerEngineWorker
from .arguments import check_endpoint
from .members import first_running, group_of, is_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..engine.writer import ComputerEngineWriter
    from ..security.credentials import Security

__all__ = ["CONNECT_WITHIN", "connected", "reached"]

CONNECT_WITHIN = 5.0
"""Seconds for the first dial, where the command's own limit is not shorter."""


@contextlib.asynccontextmanager
async def reached(
    endpoint: str, timeout: float, security: Security | None = None
) -> AsyncIterator[ComputerEngineWriter]:
    """Connects to a container, or to one of a source, and disconnects at the end.

    Raises:
        CommandFailed: the endpoint or source is malformed.
        ConnectError: the container could not be reached.
    """
    if is_source(endpoint):
        async with group_of(endpoint, min(timeout, CONNECT_WITHIN), security) as group:
            yield first_running(group)
        return
    check_endpoint(endpoint)
    async with ComputerEngineWorker(security=security) as worker:
        yield await connected(worker, endpoint, timeout)


async def connected(worker: ComputerEngineWorker, endpoint: str, timeout: float) -> ComputerEngineWriter:
    """Connects to a container, within the limit of the command and a few seconds at most.

    Raises:
        ConnectError: the container could not be reached.
    """
    return await worker.connect(uuid4(), endpoint, timeout=min(timeout, CONNECT_WITHIN))
