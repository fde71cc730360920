"""What the demo counts, and what it says in the end."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...models import Executed, LinkState
    from ...statistics import Statistics

__all__ = ["Book", "Moment", "Report", "Row", "percentile"]


def percentile(sorted_values: Sequence[int], share: float) -> int | None:
    """The smallest value that at least this share of all does not exceed; None if there is none."""
    if not sorted_values:
        return None
    return sorted_values[math.ceil(share * len(sorted_values)) - 1]


@dataclass
class Book:
    """What became of the requests to one container, or to all of them.

    Attributes:
        failures: how many ended with which error class and ``executed``.
        latencies: microseconds from the call to the answer, of each request that was answered.
    """

    name: str
    requests: int = 0
    answered: int = 0
    cancelled: int = 0
    reconnects: int = 0
    failures: Counter[tuple[str, Executed]] = field(default_factory=Counter)
    latencies: list[int] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Requests that ended with an error."""
        return self.failures.total()

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return self.requests - self.answered - self.failed - self.cancelled

    def percentiles(self, latest: int | None = None) -> tuple[int | None, int | None]:
        """p50 and p99 in microseconds, of all answers or of the latest ones."""
        values = sorted(self.latencies if latest is None else self.latencies[-latest:])
        return percentile(values, 0.50), percentile(values, 0.99)

    def __add__(self, other: Book) -> Book:
        return Book(
            self.name,
            self.requests + other.requests,
            self.answered + other.answered,
            self.cancelled + other.cancelled,
            self.reconnects + other.reconnects,
            self.failures + other.failures,
            self.latencies + other.latencies,
        )

    def fault(self, statistics: Statistics) -> str | None:
        """Why the counters of this book do not add up, or are not those of the library; None if all is well."""
        mine = (self.requests, self.answered, self.failed, self.cancelled, self.in_flight)
        library = (
            statistics.issued,
            statistics.replied,
            statistics.failed,
            statistics.cancelled,
            statistics.in_flight,
        )
        words = "issued, answered, failed, cancelled, in flight"
        if self.in_flight:
            return f"{self.name}: {self.in_flight} requests have no end ({words}: {mine})"
        if mine != library:
            return f"{self.name}: callers saw {mine}, the library counted {library} ({words})"
        return None

    def as_json(self) -> dict[str, Any]:
        """One row of the table."""
        p50, p99 = self.percentiles()
        return {
            "name": self.name,
            "requests": self.requests,
            "answered": self.answered,
            "failed": self.failed,
            "failures": [
                {"error": error, "executed": str(executed), "count": count}
                for (error, executed), count in self.failures.most_common()
            ],
            "cancelled": self.cancelled,
            "reconnects": self.reconnects,
            "p50_us": p50,
            "p99_us": p99,
        }


@dataclass(frozen=True)
class Row:
    """One container as it is now."""

    book: Book
    state: LinkState


@dataclass(frozen=True)
class Moment:
    """Something happened, ``seconds`` after the start of the demo.

    Attributes:
        event: what the demo did (``Started``, ``Killed`` ...), or the class of an event of the library.
        container: its name; None: it concerns all.
        text: in words.
    """

    seconds: float
    event: str
    container: str | None
    text: str
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """One event."""
        named = {"container": self.container} if self.container else {}
        return {"seconds": round(self.seconds, 6), "event": self.event, **named, "text": self.text, **self.facts}


@dataclass(frozen=True)
class Report:
    """The whole demo.

    Attributes:
        seconds: how long it took.
        killed: the container that was killed.
        down_after: seconds from SIGKILL to its LinkDown.
        up_after: seconds from the start of its new process to its LinkUp.
        processes: name to address and process ids, the latest last.
    """

    version: str
    seconds: float
    killed: str
    down_after: float
    up_after: float
    moments: list[Moment]
    books: list[Book]
    processes: dict[str, tuple[str, list[int]]]

    @property
    def total(self) -> Book:
        """All containers together."""
        return sum(self.books, Book("total"))

    def as_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        rows = []
        for book in self.books:
            address, pids = self.processes[book.name]
            rows.append(book.as_json() | {"address": address, "pids": pids})
        return {
            "version": self.version,
            "seconds": round(self.seconds, 3),
            "killed": self.killed,
            "down_after_seconds": round(self.down_after, 6),
            "up_after_seconds": round(self.up_after, 6),
            "events": [moment.as_json() for moment in self.moments],
            "containers": rows,
            "total": self.total.as_json(),
        }
