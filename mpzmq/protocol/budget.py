"""A budget for sending again, so that a connection which breaks over and over does not make a storm of it."""

from __future__ import annotations

__all__ = ["RetryBudget"]


class RetryBudget:
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
