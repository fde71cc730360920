"""How long something took: the last times, for their median and the slowest of them, and a histogram of all."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..statistics import Durations

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEFAULT_BUCKETS", "Timings", "agreed_buckets", "checked_buckets"]

DEFAULT_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds in seconds, from the fastest call over loopback to a minute."""

LATEST = 256
"""How many times are kept. Of so many the slowest two or three are beyond the 99th percentile."""


class Timings:
    """What is kept of many times.

    Args:
        buckets: upper bounds of a histogram of all of them; None: there is none.

    Attributes:
        seconds: the sum of all.
        count: how many they were.
    """

    __slots__ = ("_bounds", "_counts", "_earlier", "_latest", "count", "seconds")

    def __init__(self, buckets: tuple[float, ...] | None = None) -> None:
        self.seconds = 0.0
        self.count = 0
        self._earlier = 0.0  # of those seconds, what had been before there was a histogram
        self._latest: deque[float] = deque(maxlen=LATEST)
        self._bounds: tuple[float, ...] = ()
        self._counts: list[int] = []
        if buckets is not None:
            self.keep(buckets)

    def keep(self, buckets: tuple[float, ...]) -> None:
        """From now on there is a histogram, with these upper bounds; one that is there goes on.

        Raises:
            ValueError: there is one already with others.
        """
        self._bounds = agreed_buckets(self._bounds or None, buckets)
        if not self._counts:
            self._earlier = self.seconds
            self._counts = [0] * (len(buckets) + 1)

    def add(self, seconds: float) -> None:
        """Something took so long."""
        self.seconds += seconds
        self.count += 1
        self._latest.append(seconds)
        if self._counts:
            self._counts[bisect_left(self._bounds, seconds)] += 1

    def quantiles(self) -> dict[str, Any]:
        """The median of the last ones, and what all but one in a hundred did not exceed; None: there were none."""
        latest = sorted(self._latest)
        if not latest:
            return {"p50": None, "p99": None}
        return {"p50": latest[len(latest) // 2], "p99": latest[min(len(latest) * 99 // 100, len(latest) - 1)]}

    def durations(self) -> Durations | None:
        """What the histogram has counted; None: there is none."""
        if not self._counts:
            return None
        total, buckets = 0, []
        for bound, count in zip((*self._bounds, math.inf), list(self._counts), strict=True):
            total += count
            buckets.append((bound, total))
        return Durations(tuple(buckets), self.seconds - self._earlier)


def checked_buckets(buckets: Sequence[float]) -> tuple[float, ...]:
    """Upper bounds, as given.

    Raises:
        ValueError: there are none, or they do not rise, or one is no finite number above 0.
        TypeError: they are no numbers.
    """
    bounds = tuple(map(float, buckets))
    # Not the other way round: NaN is neither below nor above.
    if not bounds or not all(lower < upper for lower, upper in pairwise((0.0, *bounds, math.inf))):
        raise ValueError(f"buckets are finite numbers of seconds above 0 that rise, and not {buckets!r}")
    return bounds


def agreed_buckets(kept: tuple[float, ...] | None, wanted: tuple[float, ...]) -> tuple[float, ...]:
    """Those that are wanted: whoever asks first has chosen them for all.

    Raises:
        ValueError: others are kept already.
    """
    if kept not in (None, wanted):
        raise ValueError("histograms with other buckets are kept already: pass the same ones")
    return wanted
