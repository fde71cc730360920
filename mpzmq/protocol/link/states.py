"""The states of a link, as a table."""

from __future__ import annotations

import enum

from ...failure import FailureKind
from ...models import LinkState
from ..wire.kinds import Goodbye

__all__ = ["REJECTIONS", "TRANSITIONS", "Signal"]


class Signal(enum.Enum):
    """What can happen to a link."""

    HANDSHAKEN = "ZMTP handshake done"
    WELCOMED = "WELCOME received"
    SILENT = "nothing heard for two intervals"
    HEARD = "heard again"
    GOODBYE = "the container said GOODBYE"
    LOST = "dial failed or connection lost"
    GAVE_UP = "no redial left, or none can help"
    CLOSED = "ended by this side"


_S = LinkState
TRANSITIONS: dict[tuple[LinkState, Signal], LinkState] = {
    (_S.CONNECTING, Signal.WELCOMED): _S.ALIVE,
    (_S.CONNECTING, Signal.LOST): _S.DOWN,
    (_S.CONNECTING, Signal.GAVE_UP): _S.FAILED,
    (_S.ALIVE, Signal.SILENT): _S.BUSY,
    (_S.ALIVE, Signal.GOODBYE): _S.DRAINING,
    (_S.ALIVE, Signal.LOST): _S.DOWN,
    (_S.ALIVE, Signal.GAVE_UP): _S.FAILED,
    (_S.BUSY, Signal.HEARD): _S.ALIVE,
    (_S.BUSY, Signal.WELCOMED): _S.ALIVE,
    (_S.BUSY, Signal.GOODBYE): _S.DRAINING,
    (_S.BUSY, Signal.LOST): _S.DOWN,
    (_S.BUSY, Signal.GAVE_UP): _S.FAILED,
    (_S.DRAINING, Signal.LOST): _S.DOWN,
    (_S.DRAINING, Signal.GAVE_UP): _S.FAILED,
    (_S.DOWN, Signal.HANDSHAKEN): _S.BUSY,
    (_S.DOWN, Signal.GAVE_UP): _S.FAILED,
    **{(state, Signal.CLOSED): _S.CLOSED for state in LinkState if state is not _S.CLOSED},
}
"""Where a signal leads. A pair that is not here changes nothing."""

REJECTIONS = {
    Goodbye.VERSION: FailureKind.VERSION,
    Goodbye.TOO_MANY_SESSIONS: FailureKind.REJECTIONS,
    Goodbye.NOT_ALLOWED: FailureKind.DENIED,
    Goodbye.MALFORMED: FailureKind.MALFORMED,
}
"""The GOODBYEs that end a connection at once, and what each is a failure of."""
