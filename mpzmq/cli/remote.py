"""One container, for as long as a command needs it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from uuid import uuid4

from ..address import parse_address
from ..engine.worker import ComputerEngineWorker
from .outcome import CommandFailed
from .output import USAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..engine.writer import ComputerEngineWriter

__all__ = ["check_endpoint", "reached"]

CONNECT_WITHIN = 5.0
"""Seconds for the first dial, where the command's own limit is not shorter."""


def check_endpoint(endpoint: str, *, bind: bool = False) -> None:
    """Whether a text is an address.

    Raises:
        CommandFailed: it is not, and what is missing.
    """
    try:
        parse_address(endpoint, bind=bind)
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from None


@contextlib.asynccontextmanager
async def reached(endpoint: str, timeout: float) -> AsyncIterator[ComputerEngineWriter]:
    """Connects to a container, and disconnects at the end.

    Raises:
        CommandFailed: the endpoint is malformed.
        ConnectError: the container could not be reached.
    """
    check_endpoint(endpoint)
    async with ComputerEngineWorker() as worker:
        yield await worker.connect(uuid4(), endpoint, timeout=min(timeout, CONNECT_WITHIN))
