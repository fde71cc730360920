"""The states of a link, as a table."""

from __future__ import annotations

import enum
from typing import NamedTuple

from ...failure import FailureKind
from ...models import LinkState
from ..wire.kinds import Goodbye

__all__ = ["FACTS", "REJECTIONS", "TRANSITIONS", "Phase", "PhaseFacts", "Signal"]


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


class Phase(enum.Enum):
    """Where a link stands with its connection: finer than what the application is told."""

    DIALING = "the first dial"
    GREETING = "the first dial has succeeded, and the container has not said WELCOME yet"
    ALIVE = "the container has said WELCOME, and is heard"
    SILENT = "it has said WELCOME, and nothing was heard of it for two intervals"
    DRAINING = "it has said WELCOME, and then GOODBYE"
    DOWN = "the last dial has failed, or the last connection is lost"
    GREETING_AGAIN = "a redial has succeeded, and the container has not said WELCOME yet"
    FAILED = "given up"
    CLOSING = "ended by this side; what it has to say may leave"
    CLOSED = "ended by this side, which had nobody to say it to"


class PhaseFacts(NamedTuple):
    """What a phase means.

    Attributes:
        state: what the application is told.
        is_handshaken: whether the ZMTP handshake of a connection is done.
        welcomed: whether the container has said WELCOME on it.
    """

    state: LinkState
    is_handshaken: bool = False
    welcomed: bool = False


_P = Phase
FACTS: dict[Phase, PhaseFacts] = {
    _P.DIALING: PhaseFacts(LinkState.CONNECTING),
    _P.GREETING: PhaseFacts(LinkState.CONNECTING, is_handshaken=True),
    _P.ALIVE: PhaseFacts(LinkState.ALIVE, is_handshaken=True, welcomed=True),
    _P.SILENT: PhaseFacts(LinkState.BUSY, is_handshaken=True, welcomed=True),
    _P.DRAINING: PhaseFacts(LinkState.DRAINING, is_handshaken=True, welcomed=True),
    _P.DOWN: PhaseFacts(LinkState.DOWN),
    _P.GREETING_AGAIN: PhaseFacts(LinkState.BUSY, is_handshaken=True),
    _P.FAILED: PhaseFacts(LinkState.FAILED),
    _P.CLOSING: PhaseFacts(LinkState.CLOSED, is_handshaken=True, welcomed=True),
    _P.CLOSED: PhaseFacts(LinkState.CLOSED),
}

TRANSITIONS: dict[tuple[Phase, Signal], Phase] = {
    (_P.DIALING, Signal.HANDSHAKEN): _P.GREETING,
    (_P.DOWN, Signal.HANDSHAKEN): _P.GREETING_AGAIN,
    # A connection whose end nobody has told.
    **{(phase, Signal.HANDSHAKEN): _P.GREETING_AGAIN for phase in (_P.ALIVE, _P.SILENT, _P.DRAINING)},
    (_P.GREETING, Signal.WELCOMED): _P.ALIVE,
    (_P.GREETING_AGAIN, Signal.WELCOMED): _P.ALIVE,
    (_P.ALIVE, Signal.SILENT): _P.SILENT,
    (_P.SILENT, Signal.HEARD): _P.ALIVE,
    (_P.ALIVE, Signal.GOODBYE): _P.DRAINING,
    (_P.SILENT, Signal.GOODBYE): _P.DRAINING,
    **{
        (phase, Signal.LOST): _P.DOWN
        for phase in (_P.DIALING, _P.GREETING, _P.GREETING_AGAIN, _P.ALIVE, _P.SILENT, _P.DRAINING)
    },
    (_P.DOWN, Signal.GAVE_UP): _P.FAILED,
    **{
        (phase, Signal.CLOSED): _P.CLOSING if facts.welcomed else _P.CLOSED
        for phase, facts in FACTS.items()
        if facts.state is not LinkState.CLOSED
    },
}
"""Where a signal leads. A pair that is not here changes nothing."""

REJECTIONS = {
    Goodbye.VERSION: FailureKind.VERSION,
    Goodbye.TOO_MANY_SESSIONS: FailureKind.REJECTIONS,
    Goodbye.NOT_ALLOWED: FailureKind.DENIED,
    Goodbye.MALFORMED: FailureKind.MALFORMED,
}
"""The GOODBYEs that end a connection at once, and what each is a failure of."""
