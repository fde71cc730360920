"""Families of samples, as prometheus_client has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..statistics import Durations

__all__ = ["Families", "Labels"]

Labels = dict[str, str]


class Families:
    """Makes them.

    Raises:
        ImportError: the extra ``metrics`` is missing.
    """

    def __init__(self) -> None:
        try:
            from prometheus_client.metrics_core import Metric
        except ImportError:
            raise ImportError(
                "mpzmq.prometheus needs prometheus_client: install mpzmq-engine[metrics]"
                " (from a checkout: .venv/bin/pip install '.[metrics]')"
            ) from None
        self._metric: Any = Metric

    def counter(self, name: str, what: str, samples: Iterable[tuple[Labels, float]]) -> Any:
        """What only rises; the samples' name ends in ``_total``."""
        return self._family(name, what, "counter", "_total", samples)

    def gauge(self, name: str, what: str, samples: Iterable[tuple[Labels, float]]) -> Any:
        """What rises and falls."""
        return self._family(name, what, "gauge", "", samples)

    def durations(self, name: str, what: str, samples: Iterable[tuple[Labels, float, int, Durations | None]]) -> Any:
        """Seconds: a histogram where one is kept, else a summary without quantiles, of a sum and a count.

        Args:
            name: of the family.
            what: it is.
            samples: labels, the sum, how many, and the histogram.
        """
        samples = list(samples)
        has_buckets = any(durations is not None for *_, durations in samples)
        metric = self._metric(name, what, "histogram" if has_buckets else "summary")
        for labels, seconds, count, durations in samples:
            if durations is not None:
                seconds, count = durations.seconds, durations.count
                for bound, below in durations.buckets:
                    metric.add_sample(f"{name}_bucket", {**labels, "le": _bound(bound)}, below)
            elif has_buckets:
                continue  # nothing was timed since
            metric.add_sample(f"{name}_count", labels, count)
            metric.add_sample(f"{name}_sum", labels, seconds)
        return metric

    def _family(
        self, name: str, what: str, kind: str, suffix: str, samples: Iterable[tuple[Mapping[str, str], float]]
    ) -> Any:
        metric = self._metric(name, what, kind)
        for labels, value in samples:
            metric.add_sample(name + suffix, labels, value)
        return metric


def _bound(bound: float) -> str:
    return "+Inf" if bound == math.inf else repr(float(bound))
