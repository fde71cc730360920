"""The way in: messages of one container to the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.wire import Kind, MessageReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import Limits
    from ..protocol.link import Link
    from ..transport.base import Frames

__all__ = ["ComputerEngineReader"]


class ComputerEngineReader:
    """Reads what one container sends. A link makes its own; there is nothing for users to call."""

    def __init__(self, link: Link, limits: Limits) -> None:
        self._link = link
        self._messages = MessageReader(limits, answered=Kind.RESPONSE)

    def feed(self, messages: Sequence[Frames], now: float) -> None:
        """Decodes a burst of messages and gives it to the protocol."""
        for frames in messages:
            self._link.receive(self._messages.read(frames), now)
