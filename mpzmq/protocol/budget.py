"""A budget for sending again, so that a connection which breaks over and over does not make a storm of it."""

from __future__ import annotations

__all__ = ["RetryBudget"]


class RetryBudget:
    """Requests that may be sent again: ``burst`` at once, and as many a second after that.

    It delays and never refuses: what waits is bounded by the requests in flight, and ends by their deadlines.
    """

    def __init__(self, burst: int, now: float) -> None:
        self._burst = float(burst)
        self._left = float(burst)
        self._counted_at = now

    def spend(self, count: int, now: float) -> float:
        """Requests are to be sent again.

        Returns:
            When they may leave: now, or when what is overdrawn has been made up for.
        """
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._burst) - count
        self._counted_at = now
        return now if self._left >= 0 else now - self._left / self._burst
