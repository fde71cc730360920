"""A results file as a page of the documentation. The same figures give the same bytes."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from .compare import OURS
from .peers import PEERS, load
from .scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["page"]

_COSTS = {
    "import_ratio": ("`import mpzmq` by `import zmq, asyncio, msgpack`", "{:.2f}"),
    "import_and_use_ratio": ("the same, with worker and server loaded", "{:.2f}"),
    "import_base_ms": ("`import zmq, asyncio, msgpack`", "{:.0f} ms"),
    "links": ("containers of one engine, all idle", "{:,.0f}"),
    "connect_seconds": ("to connect to all of them", "{:.2f} s"),
    "rss_per_link_kib": ("memory of the engine for each", "{:.0f} KiB"),
    "idle_cpu_percent": ("CPU of the engine for all, default heartbeat", "{:.1f} % of one core"),
}

_PERCENTILES = {"p50": "50", "p99": "99", "p99.9": "99.9", "max": "100"}

_HOW_TO_READ = """\
Medians of the rounds; below, how many times as fast as the peer mpzmq was: the median of the rounds' ratios, the
smallest and the largest. An empty cell is a row that the peer does not do."""


def page(document: dict[str, Any]) -> str:
    """The page, in Markdown."""
    versions = document["machine"]
    parts = [
        "# Results",
        f"`{document['command']}`, on {', '.join(f'{key} {value}' for key, value in versions.items())}.",
        "Written by that command; `docs/performance.md` says how it measures and what the figures mean.",
    ]
    for loop in dict.fromkeys(row["loop"] for row in document["rows"]):
        rows = [row for row in document["rows"] if row["loop"] == loop]
        parts += [
            f"## Requests per second, {loop}",
            _HOW_TO_READ,
            _table(_rates(rows)),
            f"## CPU and memory of mpzmq, {loop}",
            "CPU seconds for a million requests, all threads of a process, and the most memory that it held.",
            _table(_spent(rows)),
        ]
        failures = [failure for row in rows for failure in row["failures"]]
        if failures:
            parts += ["What failed:", "\n".join(f"- {failure}" for failure in failures)]
    if document["latency_ms"]:
        parts += [
            "## Latency",
            "64 B, open loop, each peer at shares of its own capacity; milliseconds from the scheduled time.",
            _table(_latency(document["latency_ms"])),
            "The same at the same rates for all, as far as the capacity of each goes.",
            _table(_latency_at_rates(document["latency_ms"])),
        ]
    if document["costs"]:
        parts += ["## Costs", _table(_costs(document["costs"]))]
    if document["targets"]:
        parts += ["## What mpzmq has set itself", _table(_targets(document["targets"]))]
    return "\n\n".join(parts) + "\n"


def _table(rows: Iterable[Iterable[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * head.count(" | ") + "---|", *body])


def _rates(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    seen = {name for row in rows for name in row["peers"]}
    names = [name for name in PEERS if name in seen]
    yield ["", *(load(name).title for name in names)]
    for row in rows:
        cells = []
        for name in names:
            peer = row["peers"].get(name)
            cell = "" if peer is None else f"{statistics.median(peer['requests_per_second']):,.0f}"
            if peer is not None and name != OURS and (ratios := peer["mpzmq_by_peer"]):
                cell += f"<br>{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            cells.append(cell)
        yield [SCENARIOS[row["scenario"]].title, *cells]


def _spent(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    yield ["", "client", "server", "client's memory", "server's memory"]
    for row in rows:
        if OURS in row["peers"]:
            peer = row["peers"][OURS]
            cpu = [f"{statistics.median(peer[side]):,.1f} s" for side in ("client_us", "server_us")]
            memory = [f"{peer[side]:,.0f} MiB" for side in ("client_rss_mib", "server_rss_mib")]
            yield [SCENARIOS[row["scenario"]].title, *cpu, *memory]


def _latency(latency: dict[str, Any]) -> Iterator[list[str]]:
    yield ["", "of its capacity", "requests/s", *_PERCENTILES]
    for name, places in latency.items():
        for key, at in sorted(places.items(), key=lambda item: float(item[0])):
            if float(key) < 1:
                yield [load(name).title, f"{float(key):.0%}", f"{at['rate']:,.0f}", *_percentiles(at)]


def _latency_at_rates(latency: dict[str, Any]) -> Iterator[list[str]]:
    yield ["requests/s", "", *_PERCENTILES]
    rates = {float(key) for places in latency.values() for key in places if float(key) >= 1}
    for rate in sorted(rates):
        for name, places in latency.items():
            if (at := places.get(f"{rate:.0f}")) is not None:
                yield [f"{rate:,.0f}", load(name).title, *_percentiles(at)]


def _percentiles(at: dict[str, float]) -> list[str]:
    return [f"{at[key]:.2f}" for key in _PERCENTILES.values()]


def _costs(costs: dict[str, float]) -> Iterator[list[str]]:
    yield ["what", "seen"]
    for key, value in costs.items():
        what, shown = _COSTS.get(key, (key, "{:.2f}"))
        yield [what, shown.format(value)]


def _targets(targets: list[dict[str, Any]]) -> Iterator[list[str]]:
    yield ["work", "loop", "against", "wanted", "seen", ""]
    for target in targets:
        yield [target[key] for key in ("work", "loop", "against", "wanted", "seen", "verdict")]
