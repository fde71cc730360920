"""What was under way when a connection broke, and how it goes on on the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .requester import Requester

__all__ = ["ResendBudget", "Resender"]


class Resender:
    """Sends again what the container may not have got, or whose answer may not have come.

    Args:
        requester: the requests.
        in_flight: how many of them there may be.
        now: the time.

    Attributes:
        not_before: when requests may leave, if there was too much to send again.
    """

    def __init__(self, requester: Requester, in_flight: int, now: float) -> None:
        self.not_before = now
        self._requester = requester
        self._tracker = requester.tracker
        self._budget = ResendBudget(in_flight, now)
        self._resending = False

    def begin(self, instance_changed: bool, resumed: bool, now: float) -> None:
        """The container has said WELCOME on a new connection.

        Args:
            instance_changed: whether it is another process than before.
            resumed: whether it knows the session.
            now: the time.
        """
        why = None
        if instance_changed:
            why = "the container was restarted"
        elif not resumed:
            why = "the container is the same, but has forgotten this session"
        if why is not None:
            self._requester.cancels.clear()
            self._tracker.reply_acks.clear()
        self._resending = self._tracker.on_reconnected(why, instance_changed=instance_changed) > 0

    def waiting(self) -> int:
        """How many items stand in front that a container that drains takes: it takes no new requests."""
        count = self._tracker.old_first() if self._resending or self._tracker.send_streams.in_parts else 0
        self._resending = count > 0
        return count

    def next_try(self, now: float) -> float | None:
        """When requests may leave that may not now; None: they may."""
        return self.not_before if self.not_before > now else None

    def on_sent(self, count: int, now: float) -> None:
        """So many requests have left that had been sent before."""
        self.not_before = self._budget.spend(count, now)


class ResendBudget:
    """Requests that may be sent again: ``burst`` at once, and as many a second after that.

    It delays, by a second at most, and never refuses: what waits is bounded by the requests in flight.
    """

    def __init__(self, burst: int, now: float) -> None:
        self._burst = float(burst)
        self._left = float(burst)
        self._counted_at = now

    def spend(self, count: int, now: float) -> float:
        """Requests leave again.

        Returns:
            When the next ones may: now, or when what is overdrawn has been made up for.
        """
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._burst) - count
        self._left = max(self._left, -self._burst)
        self._counted_at = now
        return now if self._left >= 0 else now - self._left / self._burst
