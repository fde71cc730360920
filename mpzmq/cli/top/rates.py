"""What two snapshots of a container's counters say of the time between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...statistics import FunctionStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

__all__ = ["WATCHING", "Figures", "Sample", "by_function", "total"]

WATCHING = "stats"
"""What questions for counters count as: they are no work, and whoever watches would see himself."""

_NONE = FunctionStatistics()


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of a container at one moment.

    Attributes:
        at: the time in seconds.
        instance: the process that counted; another one begins at 0.
        functions: its counters.
    """

    at: float
    instance: UUID | None
    functions: Mapping[str, FunctionStatistics]


@dataclass(frozen=True, slots=True)
class Figures:
    """What is shown of a container, or of one of its functions.

    Attributes:
        in_flight: requests that run, or wait for their turn.
        requests: those that came, a second; None: one snapshot alone says nothing of that.
        errors: those that failed or were refused, a second.
        p50, p99: seconds at work, as the container tells them.
    """

    in_flight: float
    requests: float | None
    errors: float | None
    p50: float | None
    p99: float | None


def by_function(now: Sample, before: Sample | None) -> dict[str, Figures]:
    """The figures of each function.

    Args:
        now: the last snapshot.
        before: the one in front of it, if there was one.
    """
    seconds = 0.0 if before is None else now.at - before.at
    # What another process had counted is over: this one has counted from 0.
    earlier = before.functions if before is not None and before.instance == now.instance else {}
    return {name: _figures(one, earlier.get(name, _NONE), seconds) for name, one in now.functions.items()}


def total(functions: Mapping[str, Figures], *, rated: bool) -> Figures:
    """The figures of their container: of percentiles, those of its slowest function.

    Args:
        functions: its functions; questions for counters are left out.
        rated: whether there were two snapshots.
    """
    work = [one for name, one in functions.items() if name != WATCHING]
    return Figures(
        sum(one.in_flight for one in work),
        sum(one.requests or 0.0 for one in work) if rated else None,
        sum(one.errors or 0.0 for one in work) if rated else None,
        _slowest(one.p50 for one in work),
        _slowest(one.p99 for one in work),
    )


def _figures(now: FunctionStatistics, before: FunctionStatistics, seconds: float) -> Figures:
    errors = _rise(now.failed, before.failed) + _rise(now.refused, before.refused)
    return Figures(
        _finite(now.running + now.queued) or 0,
        _finite(_rise(_came(now), _came(before)) / seconds) if seconds > 0 else None,
        _finite(errors / seconds) if seconds > 0 else None,
        _finite(now.p50),
        _finite(now.p99),
    )


def _came(one: FunctionStatistics) -> int:
    return one.replied + one.failed + one.refused + one.cancelled + one.running + one.queued


def _rise(now: float, before: float) -> float:
    """How much was counted; a counter that is less than it was has begun again."""
    return now - before if now >= before else now


def _finite(value: float | None) -> float | None:
    """A number that can be shown, added and written as JSON: a container may send any."""
    return value if value is not None and math.isfinite(value) else None


def _slowest(seconds: Iterable[float | None]) -> float | None:
    return max((one for one in seconds if one is not None), default=None)
