"""What was known of a link when something was said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .message import LinkState

__all__ = ["Evidence", "StateChange"]


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of a link's state.

    Attributes:
        state: the state that began.
        ago: seconds since then.
        reason: why, in words.
    """

    state: LinkState
    ago: float
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a link knew, for whoever has to judge what it said: of ``LinkBusy``, ``LinkDown`` and failed requests.

    Attributes:
        last_heard: seconds since the container was last heard on its connection.
        missed: heartbeat intervals since then, whole ones.
        rtt: the smoothed round trip of a heartbeat in seconds; None before the first.
        lag: seconds by which this worker's own event loop was late, at most, within the last 30: what seems to be the
            container's silence may be the worker's own.
        attempts: redials that failed since the last loss.
        history: the last few changes of the link's state, the oldest first.
    """

    last_heard: float
    missed: int
    rtt: float | None
    lag: float
    attempts: int
    history: tuple[StateChange, ...]

    def __str__(self) -> str:
        rtt = "unknown" if self.rtt is None else f"{self.rtt * 1000:.1f} ms"
        states = ", ".join(f"{change.state} {change.ago:.1f} s ago" for change in self.history)
        return (
            f"last heard {self.last_heard:.1f} s ago, {self.missed} heartbeats missed, round trip {rtt}, own event loop"
            f" late by up to {self.lag:.1f} s, {self.attempts} redials failed; {states}"
        )
