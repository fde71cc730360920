"""The way in: messages of one container to the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.logs import Log
from ..common.set_module import set_module
from ..common.text import text_of, type_name
from ..failure import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..protocol.link.link import Link
    from ..protocol.wire.messages import MessageDecoder
    from ..transport.interface import Frames

__all__ = ["ComputerEngineReader"]

log = Log(__name__)

FLOOD = "it floods this engine with what was not asked for"


@set_module("mpzmq")
class ComputerEngineReader:
    """Reads what one container sends, and no more than it owes. A link makes its own; users have nothing to call.

    Args:
        link: takes the messages.
        messages: decodes them; links may share one.
    """

    def __init__(self, link: Link, messages: MessageDecoder) -> None:
        self._link = link
        self._messages = messages

    def feed(self, messages: Sequence[Frames], now: float, reading: float | None) -> Failure | None:
        """Decodes a burst of messages and gives it to the protocol.

        Args:
            messages: their frames.
            now: the time.
            reading: the time by a finer clock, for round trips; None: there is none.

        Returns:
            Why the connection has to be given up; None if it has not.
        """
        link = self._link
        if not link.on_burst(len(messages), reading):
            return Failure(FailureKind.LOST, FLOOD, was_up=True)
        failure = None
        for frames in messages:
            try:
                message = self._messages.decode(frames)
                link.diagnostics.traffic.received_bytes += message.size
                link.receive(message, now)
            except Exception as error:  # over this message: what else has come is not to be lost with it
                log.error("%s: a message could not be processed", link.whom, exc_info=error)
                detail = f"this engine failed over a message of it ({type_name(error)}: {text_of(error)})"
                failure = Failure(FailureKind.LOST, detail, was_up=True)
        return failure
