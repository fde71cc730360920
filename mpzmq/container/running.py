"""One request at work in a container."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from ..context import RequestContext
    from ..protocol.handshake import Request
    from ..protocol.peer import Peer
    from .registry import Function

    Key = tuple[Peer, bytes]

__all__ = ["Ending", "Running"]


class Ending(enum.Enum):
    """Why a running handler is cancelled."""

    ENGINE = "the engine does not wait for it any more"
    DEADLINE = "its deadline has come"
    REISSUED = "it had been cancelled before it was issued again"
    SERVER = "the container ended it"


class Running:
    """One request whose handler has not ended."""

    __slots__ = ("context", "deadline", "ending", "function", "key", "request", "started", "task")

    def __init__(self, request: Request, function: Function, context: RequestContext) -> None:
        self.request = request
        self.function = function
        self.context = context
        self.deadline = context.deadline
        self.ending: Ending | None = None
        self.started = False
        # What tells it from all others. The peer itself, since a UUID is hashed in Python: 0.5 us each time.
        self.key: Key = (request.peer, request.tag)
        self.task: asyncio.Task[None] | None = None
