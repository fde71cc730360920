"""What one link has seen, kept for those who have to judge what it says."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ...events import Evidence, StateChange
from .load import ContainerLoad
from .traffic import LinkTraffic

if TYPE_CHECKING:
    from ...models import LinkState
    from .liveness import Heartbeat
    from .redials import RedialCounter

__all__ = ["LinkDiagnostics"]

CHANGES = 8
"""How many changes of state are remembered."""

LAG_KEPT = 30.0
"""Seconds for which it is remembered that this side's own event loop was late."""

LAG_TOLD = 0.5
"""Seconds from which on the own event loop's lag is mentioned in words: it may explain a silence."""


class LinkDiagnostics:
    """Sees the states of a link, and the lag of the event loop that serves it."""

    def __init__(self, heartbeat: Heartbeat, attempts: RedialCounter, state: LinkState, now: float) -> None:
        self.now = now
        """The time, as far as it is known."""
        self.load = ContainerLoad()
        """How much the container does."""
        self.traffic = LinkTraffic()
        """What has gone over the link."""
        self._heartbeat = heartbeat
        self._attempts = attempts
        self._changes: deque[tuple[LinkState, float, str]] = deque([(state, now, "the first dial")], CHANGES)
        self._lags: deque[tuple[float, float]] = deque(maxlen=CHANGES)
        self._said: Evidence | None = None
        self._said_at = now

    def on_state_changed(self, state: LinkState, reason: str) -> None:
        """The link is in another state."""
        self._changes.append((state, self.now, reason))
        self._said = None

    def record_lag(self, seconds: float) -> None:
        """A timer fired so much later than it should have: this side's own event loop was blocked."""
        if seconds >= LAG_TOLD:
            self._lags.append((self.now, seconds))
            self._said = None

    @property
    def lag(self) -> float:
        """Seconds by which the own event loop was late lately, at most."""
        return max((seconds for at, seconds in self._lags if self.now - at < LAG_KEPT), default=0.0)

    @property
    def latest_change(self) -> tuple[LinkState, float, str]:
        """The state of the link, since when, and why."""
        return self._changes[-1]

    def local_lag_note(self) -> str:
        """What has to be said before the container is accused; nothing, if the own event loop was never late."""
        lag = self.lag
        return f"; this worker's own event loop was blocked for {lag:.1f} s shortly before" if lag else ""

    def snapshot(self) -> Evidence:
        """What is known now. Many requests fail in the same moment, and share it."""
        heartbeat = self._heartbeat
        now = max(self.now, heartbeat.last_heard)
        if self._said is None or self._said_at != now:
            self._said_at = now
            self._said = Evidence(
                last_heard=now - heartbeat.last_heard,
                missed=heartbeat.missed(now),
                rtt=heartbeat.rtt,
                lag=self.lag,
                attempts=self._attempts.failed,
                history=tuple(StateChange(state, now - at, reason) for state, at, reason in self._changes),
            )
        return self._said
