"""The states of an engine's session, as a table."""

from __future__ import annotations

import enum

__all__ = ["SESSION_TRANSITIONS", "SessionSignal", "SessionState"]

SLOW_FACTOR = 8
"""How many times ``Limits.queued_bytes`` may wait for an engine that takes its replies slowly."""


class SessionState(enum.Enum):
    """The state of an engine's session."""

    CONNECTED = "the engine has greeted on a connection that stands"
    DETACHED = "the connection is gone; what runs for the session goes on"
    CLOSED = "the engine said GOODBYE, or was away for too long"


class SessionSignal(enum.Enum):
    """What can happen to an engine's session."""

    HELLO = "the engine said HELLO on a new connection"
    UNREACHABLE = "the connection is gone, or takes nothing any more"
    GOODBYE = "the engine said GOODBYE"
    FORGOTTEN = "it was away for too long, or its place was wanted"
    NOT_ALLOWED = "its key is not allowed any more"


SESSION_TRANSITIONS: dict[tuple[SessionState, SessionSignal], SessionState] = {
    (SessionState.CONNECTED, SessionSignal.HELLO): SessionState.CONNECTED,
    (SessionState.CONNECTED, SessionSignal.UNREACHABLE): SessionState.DETACHED,
    (SessionState.CONNECTED, SessionSignal.GOODBYE): SessionState.CLOSED,
    (SessionState.DETACHED, SessionSignal.HELLO): SessionState.CONNECTED,
    (SessionState.DETACHED, SessionSignal.GOODBYE): SessionState.CLOSED,
    (SessionState.DETACHED, SessionSignal.FORGOTTEN): SessionState.CLOSED,
    (SessionState.CONNECTED, SessionSignal.NOT_ALLOWED): SessionState.CLOSED,
    (SessionState.DETACHED, SessionSignal.NOT_ALLOWED): SessionState.CLOSED,
}
"""Where a signal leads. A pair that is not here changes nothing."""
