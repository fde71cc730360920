"""Families of samples, as prometheus_client has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..statistics import Durations

__all__ = ["Labels", "counter", "duration", "gauge"]

Labels = dict[str, str]


def counter(name: str, what: str, samples: Iterable[tuple[Labels, float]]) -> Metric:
    """What only rises; the samples' name ends in ``_total``."""
    return _family(name, what, "counter", "_total", samples)


def gauge(name: str, what: str, samples: Iterable[tuple[Labels, float]]) -> Metric:
    """What rises and falls."""
    return _family(name, what, "gauge", "", samples)


def duration(name: str, what: str, samples: Iterable[tuple[Labels, float, int, Durations | None]]) -> Metric:
    """Seconds: a histogram where one is kept, else a summary without quantiles, of a sum and a count.

    Args:
        name: of the family.
        what: it is.
        samples: labels, the sum, how many, and the histogram.
    """
    samples = list(samples)
    has_buckets = any(durations is not None for *_, durations in samples)
    metric = Metric(name, what, "histogram" if has_buckets else "summary")
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


def _family(name: str, what: str, kind: str, suffix: str, samples: Iterable[tuple[Labels, float]]) -> Metric:
    metric = Metric(name, what, kind)
    for labels, value in samples:
        metric.add_sample(name + suffix, labels, value)
    return metric


def _bound(bound: float) -> str:
    return "+Inf" if bound == math.inf else repr(float(bound))
