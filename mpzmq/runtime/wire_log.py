"""The log of the wire: each record that leaves or arrives, a line of the logger ``mpzmq.wire`` at DEBUG.

It costs a look at the logger's level a message while it is off. It shows arguments and results: it is for the hour in
which something is searched, and not for a log that is kept.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..common.logs import Log
from ..protocol.wire.shown import shown_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..protocol.wire.values import Buffer

__all__ = ["log_received", "log_sent", "wire_log_is_on"]

NAME = "mpzmq.wire"

_logger = logging.getLogger(NAME)
_log = Log(NAME)


def wire_log_is_on() -> bool:
    """Whether anybody wants it."""
    return _logger.isEnabledFor(logging.DEBUG)


def log_sent(whom: str, frames: Sequence[Buffer]) -> None:
    """A message has left for somebody."""
    for line in shown_message(frames):
        _log.debug("to %s: %s", whom, line)


def log_received(whom: str, frames: Sequence[Buffer]) -> None:
    """A message of somebody has arrived."""
    for line in shown_message(frames):
        _log.debug("from %s: %s", whom, line)
