"""The container that is judged, as checks reach it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ..protocol.wire.kinds import Code, Kind, Op
from .checks import Violation
from .raw_engine import RawEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from ..transport.interface import Transport

__all__ = ["ContainerUnderTest"]


class ContainerUnderTest:
    """Makes connections to the container.

    Args:
        transport: makes the sockets.
        endpoint: where the container serves.
        patience: seconds within which it has to answer.
    """

    def __init__(self, transport: Transport, endpoint: str, patience: float) -> None:
        self.endpoint = endpoint
        self.patience = patience
        self.welcome: dict[str, Any] = {}
        """What it has said in WELCOME."""
        self.is_resuming = False
        """Whether it knows sessions again: level 2."""
        self.is_streaming = False
        """Whether it serves streams: level 4."""
        self._transport = transport

    @property
    def levels(self) -> set[int]:
        """The levels that it announces."""
        limits = self.welcome.get("limits", {})
        several = limits.get("batch_records", 1) > 1 or limits.get("message_bytes", 0) > 1 << 20
        told = {2: self.is_resuming, 3: several, 4: self.is_streaming}
        return {1, *(level for level, is_told in told.items() if is_told)}

    async def look(self) -> None:
        """Finds out what it announces.

        Raises:
            ConnectionError: nothing that speaks ZMTP listens there.
        """
        with contextlib.suppress(Violation):  # a check will find it
            async with self.greeted() as first:
                async with self.greeted(2, session=first.session) as second:
                    self.is_resuming = second.welcomed["resumed"]
                async with self.greeted(stream_items=10, stream_bytes=1000) as third:
                    tag = third.request("count", 0, op=Op.STREAM)
                    heard = await third.hear(Kind.CHUNK, Kind.RESPONSE, Kind.ERROR, tag=tag)
                    self.is_streaming = heard.kind != Kind.ERROR or heard.record[1] != Code.UNSUPPORTED
                    third.say([Kind.CANCEL], tag)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[RawEngine]:
        """A connection on which nothing was said yet."""
        engine = RawEngine(self._transport, self.endpoint, self.patience)
        try:
            await engine.connected()
            yield engine
            engine.blame()
        finally:
            engine.leave()

    @contextlib.asynccontextmanager
    async def greeted(self, number: int = 1, *, session: UUID | None = None, **limits: int) -> AsyncIterator[RawEngine]:
        """A connection behind WELCOME; without limits that of a level 1 engine."""
        async with self.connected() as engine:
            await engine.greet(number, session=session, **limits)
            self.welcome = self.welcome or engine.welcomed
            yield engine
