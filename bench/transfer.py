"""One large payload one way: how fast, in how much memory, and how long small requests take meanwhile.

Every transfer has two fresh processes, since the most memory that a process has held is never forgotten.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .compare import OURS
from .latency import percentile
from .movers import MESSAGE_BYTES, MIB, MOVERS, Moved
from .peers import load
from .processes import PeerFailed, Process, run_client
from .report import target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["MAX_MIB", "Transfer", "compare_transfer", "transfer_lines", "transfer_targets"]

MAX_MIB = MESSAGE_BYTES // MIB - 1
"""A message is the payload and a few bytes more."""

LIMIT = 60.0
"""Seconds that the moving itself is given, beside what every client process is given."""

THEIRS = "plain-pyzmq"

WANTED_RATIO = 0.8
WANTED_MEMORY = 128
"""MiB beside the payload."""
WANTED_P99 = 50
"""Milliseconds."""

_TITLES = {"up": "engine to container", "down": "container to engine"}


@dataclass(slots=True)
class Transfer:
    """What all rounds of one direction on one event loop saw; ``moved`` by mover and round, None where it failed."""

    direction: str
    loop: str
    mib: int
    moved: dict[str, list[Moved | None]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.mib:,} MiB, {_TITLES[self.direction]}"

    def seen(self, mover: str) -> list[Moved]:
        """The rounds that did not fail."""
        return [moved for moved in self.moved.get(mover, ()) if moved is not None]

    def rate(self, mover: str) -> float:
        """The median, in MB a second."""
        return statistics.median(self.mib * MIB / moved.seconds / 1e6 for moved in self.seen(mover))

    def ratios(self) -> list[float]:
        """mpzmq's rate by plain pyzmq's in the same round."""
        rounds = zip(self.moved.get(OURS, ()), self.moved.get(THEIRS, ()), strict=False)
        return [theirs.seconds / ours.seconds for ours, theirs in rounds if ours is not None and theirs is not None]

    def memory(self, mover: str) -> tuple[float, float]:
        """The most that the engine's and the container's process held beside the payload, in MiB."""
        seen = self.seen(mover)
        engine, container = max(moved.engine_rss for moved in seen), max(moved.container_rss for moved in seen)
        return engine / MIB - self.mib, container / MIB - self.mib

    def latencies(self) -> dict[str, list[float]]:
        """Milliseconds of the small requests of all rounds, in order of size."""
        seen = self.seen(OURS)
        return {
            "echoes": sorted(latency for moved in seen for latency in moved.echoes),
            "pings": sorted(latency for moved in seen for latency in moved.pings),
        }


def compare_transfer(direction: str, loop: str, mib: int, rounds: int, say: Callable[[str], None]) -> Transfer:
    """Measures one direction; who goes first changes from round to round."""
    row = Transfer(direction, loop, mib)
    names = list(MOVERS)
    for round_ in range(rounds):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            moved = None
            try:
                moved = _transfer(name, direction, loop, mib)
            except PeerFailed as error:
                row.failures.append(str(error))
                say(str(error))
            row.moved.setdefault(name, []).append(moved)
    return row


def _transfer(name: str, direction: str, loop: str, mib: int) -> Moved:
    options = [name, direction, "--loop", loop, "--mib", str(mib)]
    server = Process(f"{name}: the server for {direction}", ["hold", *options])
    try:
        return Moved(**run_client(server, ["move", *options], LIMIT, f"{name}: {mib:,} MiB {direction}"))
    finally:
        server.close()


def transfer_lines(row: Transfer) -> list[str]:
    """One direction as a table, and what was seen on the link meanwhile."""
    sides = f"{'engine':>8} {'container':>10}  MiB beside the payload"
    lines = [
        f"{row.title} ({row.loop})",
        f"  {'':12} {'MB/s':>11} {'mpzmq is':>10}  {'(min to max)':16} {sides}",
    ]
    for name in row.moved:
        if row.seen(name):
            ratio, spread = "", ""
            if name == THEIRS and (ratios := row.ratios()):
                ratio, spread = f"{statistics.median(ratios):.2f} x", f"({min(ratios):.2f} to {max(ratios):.2f})"
            engine, container = row.memory(name)
            lines.append(
                f"  {name:12} {row.rate(name):>11,.0f} {ratio:>10}  {spread:16} {engine:>8.0f} {container:>10.0f}"
            )
    return [*lines, *_meanwhile(row)]


def _meanwhile(row: Transfer) -> Iterator[str]:
    for what, latencies in row.latencies().items():
        if latencies:
            median, p99 = percentile(latencies, 50), percentile(latencies, 99)
            told = f"p50 {median:.2f}, p99 {p99:.2f}, max {latencies[-1]:.2f} ms"
            yield f"  {what} meanwhile: {told} ({len(latencies):,} of them)"
    if row.seen(OURS):
        events = [event for moved in row.seen(OURS) for event in moved.events]
        yield f"  events of the link meanwhile: {', '.join(events) or 'none'}"


def transfer_targets(rows: Sequence[Transfer]) -> list[dict[str, str]]:
    """What the project wants, and what was seen, in words."""
    found = []
    for row in rows:
        if ratios := row.ratios():
            ratio = statistics.median(ratios)
            wanted, reached = f"at least {WANTED_RATIO:g}", ratio >= WANTED_RATIO
            found.append(target(row.title, row.loop, load(THEIRS).title, wanted, f"{ratio:.2f}", reached))
        if row.seen(OURS):
            for side, memory in zip(("engine", "container"), row.memory(OURS), strict=True):
                against = f"MiB beside it, {side}"
                wanted, reached = f"under {WANTED_MEMORY}", memory < WANTED_MEMORY
                found.append(target(row.title, row.loop, against, wanted, f"{memory:.0f}", reached))
        for what, latencies in row.latencies().items():
            if latencies:
                p99 = percentile(latencies, 99)
                wanted, reached = f"under {WANTED_P99}", p99 < WANTED_P99
                found.append(target(row.title, row.loop, f"ms of small {what}, p99", wanted, f"{p99:.1f}", reached))
    return found
