"""The states of an engine's session, as a table."""

from __future__ import annotations

import enum

__all__ = ["PEER_TRANSITIONS", "PeerSignal", "PeerState"]

SLOW_FACTOR = 8
"""How many times ``Limits.queued_bytes`` may wait for an engine that takes its replies slowly."""


class PeerState(enum.Enum):
    """The state of an engine's session."""

    CONNECTED = "the engine has greeted on a connection that stands"
    DETACHED = "the connection is gone; what runs for the session goes on"
    CLOSED = "the engine said GOODBYE, or was away for too long"


class PeerSignal(enum.Enum):
    """What can happen to an engine's session."""

    HELLO = "HELLO on a newer connection"
    UNREACHABLE = "the connection is gone, or takes nothing any more"
    GOODBYE = "the engine said GOODBYE"
    FORGOTTEN = "it was away for too long, or its place was wanted"
    NOT_ALLOWED = "its key is not allowed any more"


PEER_TRANSITIONS: dict[tuple[PeerState, PeerSignal], PeerState] = {
    (PeerState.CONNECTED, PeerSignal.HELLO): PeerState.CONNECTED,
    (PeerState.CONNECTED, PeerSignal.UNREACHABLE): PeerState.DETACHED,
    (PeerState.CONNECTED, PeerSignal.GOODBYE): PeerState.CLOSED,
    (PeerState.DETACHED, PeerSignal.HELLO): PeerState.CONNECTED,
    (PeerState.DETACHED, PeerSignal.GOODBYE): PeerState.CLOSED,
    (PeerState.DETACHED, PeerSignal.FORGOTTEN): PeerState.CLOSED,
    (PeerState.CONNECTED, PeerSignal.NOT_ALLOWED): PeerState.CLOSED,
    (PeerState.DETACHED, PeerSignal.NOT_ALLOWED): PeerState.CLOSED,
}
"""Where a signal leads. A pair that is not here changes nothing."""
