"""Whether the other side's event loop lives, judged by when it was heard."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...config import HeartbeatPolicy

__all__ = ["Heartbeat"]

_STEP = 0.1
"""Of an interval, between two moments at which links look."""

_SMOOTHING = 0.125  # RFC 6298's weight of a new round-trip sample


class Heartbeat:
    """The heartbeat of one connection, seen from the engine.

    Whatever arrives counts as life. A PING leaves an interval after the last one was answered, also while replies come:
    they tell nothing of the round trip. At most one is unanswered: TCP loses none, and a container that is blocked for
    an hour must not find 1,800 of them.

    Attributes:
        last_heard: when something last arrived.
        rtt: the smoothed round trip of a PING; None before the first.
        reading: the time now by a finer clock than that of the rest, for round trips; None: there is none.
    """

    def __init__(self, policy: HeartbeatPolicy, now: float) -> None:
        self._policy = policy
        self.last_heard = now
        self.rtt: float | None = None
        self.reading: float | None = None
        self._answered_at = now
        self._pinged_at: float | None = None
        self._left_at = now

    def on_connected(self, now: float) -> None:
        """A new connection begins: what was sent on the old one will not be answered."""
        self.last_heard = self._answered_at = now
        self._pinged_at = None

    def on_welcome(self, now: float) -> None:
        """HELLO has been answered: from here on there are PINGs."""
        self._answered_at = now

    def on_received(self, now: float) -> None:
        """Something has arrived."""
        self.last_heard = now

    def on_ping_sent(self, now: float) -> None:
        """A PING has left."""
        self._pinged_at = now
        self._left_at = now if self.reading is None else self.reading

    def on_pong(self, now: float) -> None:
        """The PING has been answered."""
        if self._pinged_at is not None:
            sample = (now if self.reading is None else self.reading) - self._left_at
            self.rtt = sample if self.rtt is None else self.rtt + _SMOOTHING * (sample - self.rtt)
            self._pinged_at = None
            self._answered_at = now

    def is_ping_due(self, now: float) -> bool:
        """Whether an interval has passed since HELLO, or the last PING, was answered."""
        return self._pinged_at is None and now >= self._answered_at + self._policy.interval

    def is_silent(self, now: float) -> bool:
        """Whether nothing was heard for two intervals, though the other side was asked in time to answer."""
        return now >= self.last_heard + 2 * self._policy.interval and now >= self._answer_due()

    def is_stuck(self, now: float) -> bool:
        """Whether the silence has lasted longer than the policy bears."""
        stuck_after = self._policy.stuck_after
        return stuck_after is not None and now >= self.last_heard + stuck_after and now >= self._answer_due()

    def missed(self, now: float) -> int:
        """Whole intervals since something was heard."""
        return max(0, int((now - self.last_heard) / self._policy.interval))

    def _answer_due(self) -> float:
        """When a PING should have been answered. Who was blocked itself has asked late, and has to wait for it."""
        if self._pinged_at is None:
            return self.last_heard
        return self._pinged_at + (1 - _STEP) * self._policy.interval

    def next_check(self, now: float) -> float | None:
        """When the answer may change, if nothing is heard until then; up to a tenth of an interval later.

        All links look at the same moments: one wake-up for many of them (1,000 idle links took 8 % of a core without).
        """
        interval, stuck_after = self._policy.interval, self._policy.stuck_after
        step = _STEP * interval
        ping_due = self._answered_at + interval if self._pinged_at is None else -math.inf
        silent_at = max(self.last_heard + 2 * interval, self._answer_due())
        stuck_at = -math.inf if stuck_after is None else max(self.last_heard + stuck_after, self._answer_due())
        for when in (ping_due, silent_at, stuck_at):
            # Who asks between that time and the moment at which links look has not looked yet.
            if now < when + step and now < (look := max(when, math.ceil(when / step) * step)):
                return look  # the product may fall short of it by a rounding
        return None
