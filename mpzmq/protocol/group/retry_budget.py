"""How many requests may be sent once more: a share of all, so that retries cannot make an overload worse (Finagle)."""

from __future__ import annotations

from collections import deque

__all__ = ["RetryBudget"]

SECONDS = 10
"""For how long a request counts, and what was taken for it."""


class RetryBudget:
    """A bucket of tokens, each of which is good for one more try.

    Every request puts a share of a token in, which is good for ten seconds; and so many come each second by themselves,
    for groups with little to do.

    Args:
        ratio: tokens for each request.
        floor: tokens that come each second beside those.
    """

    __slots__ = ("_balance", "_floor", "_now", "_ratio", "_seconds")

    def __init__(self, ratio: float, floor: float) -> None:
        self._ratio = ratio
        self._floor = floor
        self._seconds: deque[tuple[int, float]] = deque()  # what each of the last seconds has left in the bucket
        self._now: int = -1
        self._balance = 0.0

    def deposit(self, now: float) -> None:
        """A request is made."""
        if int(now) != self._now:
            self._turn(int(now))
        self._balance += self._ratio

    def withdraw(self, now: float) -> bool:
        """One more try is wanted. Returns whether there is a token for it."""
        self._turn(int(now))
        if self.tokens < 1 - 1e-6:  # five fifths are a little less than one
            return False
        self._balance -= 1
        return True

    @property
    def tokens(self) -> float:
        """How many there are, as of the last request."""
        return self._floor * SECONDS + self._balance + sum(left for _, left in self._seconds)

    def _turn(self, second: int) -> None:
        if second == self._now:
            return
        self._seconds.append((self._now, self._balance))
        self._now, self._balance = second, 0.0
        while self._seconds and self._seconds[0][0] <= second - SECONDS:
            self._seconds.popleft()
