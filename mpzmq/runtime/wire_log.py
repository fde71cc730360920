"""The log of the wire: each record that leaves or arrives, and each change of state, as lines of the logger
``mpzmq.wire`` at DEBUG.

It shows arguments and results: it is for the hour in which something is searched, and not for a log that is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.logs import Log
from ..protocol.wire.shown import shown_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..protocol.wire.values import Buffer

__all__ = ["WIRE_LOG"]

_log = Log("mpzmq.wire")


class _WireLog:
    """The one of the process, as its logger is.

    Attributes:
        is_on: whether anybody wants it, as far as was known when that was asked last: with each message, the answer of
            ``logging`` would cost as much as the message's way through several functions.
    """

    __slots__ = ("is_on",)

    def __init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Asks whether anybody wants it."""
        self.is_on = _log.wants_debug

    def sent(self, whom: str, frames: Sequence[Buffer]) -> None:
        """A message has left for somebody."""
        for line in shown_message(frames):
            _log.debug("to %s: %s", whom, line)

    def received(self, whom: str, frames: Sequence[Buffer]) -> None:
        """A message of somebody has arrived."""
        for line in shown_message(frames):
            _log.debug("from %s: %s", whom, line)

    def state(self, whom: str, state: str, reason: str) -> None:
        """A link, or the session of an engine, is in another state."""
        _log.debug("%s is %s: %s", whom, state, reason)


WIRE_LOG = _WireLog()
