"""Whoever can keep histograms of how long something took."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from .timings import DEFAULT_BUCKETS, agreed_buckets, checked_buckets

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KeepsHistograms"]


class KeepsHistograms(ABC):
    """A server or a worker: whoever asks first has chosen the bounds of its histograms."""

    _buckets: tuple[float, ...] | None = None

    @property
    def buckets(self) -> tuple[float, ...] | None:
        """The upper bounds of the histograms that are kept, in seconds; None: none are."""
        return self._buckets

    def keep_durations(self, buckets: Sequence[float] = DEFAULT_BUCKETS) -> None:
        """Has ``durations`` of its counters kept from now on: histograms, for ``/metrics``, too.

        Args:
            buckets: upper bounds in seconds; by default 18 from 100 µs to a minute.

        Raises:
            ValueError: they do not rise from above 0, or others are kept already.
        """
        self._buckets = agreed_buckets(self._buckets, checked_buckets(buckets))
        self._keep_durations(self._buckets)

    @abstractmethod
    def _keep_durations(self, buckets: tuple[float, ...]) -> None:
        """Histograms with these bounds begin, where there are none."""
