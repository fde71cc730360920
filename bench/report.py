"""What was seen, as text, JSON and charts."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

from .compare import OURS
from .scenarios import SCENARIOS, TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .compare import Row

__all__ = ["as_document", "row_lines", "target_lines", "write_json"]


def row_lines(row: Row) -> list[str]:
    """One row as a table: rate, ratio with its spread, CPU a request on each side."""
    lines = [
        f"{SCENARIOS[row.scenario].title} ({row.loop})",
        f"  {'':12} {'requests/s':>11} {'mpzmq is':>10}  {'(min to max)':16} {'client':>8} {'server':>8}  us of CPU",
    ]
    for peer, counts in row.counts.items():
        if not counts:
            continue
        rate = statistics.median(row.rates(peer))
        client = statistics.median(count.client_cpu / max(1, count.requests) * 1e6 for count in counts)
        server = statistics.median(count.server_cpu / max(1, count.requests) * 1e6 for count in counts)
        ratios = row.ratios(peer)
        ratio, spread = "", ""
        if peer != OURS and ratios:
            ratio, spread = f"{statistics.median(ratios):.2f} x", f"({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"  {peer:12} {rate:>11,.0f} {ratio:>10}  {spread:16} {client:>8.1f} {server:>8.1f}")
    return lines


def target_lines(rows: Sequence[Row]) -> list[str]:
    """The ratios that the project wants, and what was seen."""
    lines = []
    for row in rows:
        for target in TARGETS:
            ratio = row.ratio(target.peer) if target.scenario == row.scenario else None
            if ratio is not None:
                title = SCENARIOS[row.scenario].title
                word = "reached" if ratio >= target.at_least else "missed"
                lines.append(
                    f"  {title:36} {row.loop:8} {target.peer:12} at least {target.at_least:>4}: {ratio:6.2f}  {word}"
                )
    return lines


def as_document(
    rows: Sequence[Row], latency: dict[str, Any], costs: dict[str, float], machine: dict[str, str], command: str
) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "command": command,
        "machine": machine,
        "rows": [
            {
                "scenario": row.scenario,
                "loop": row.loop,
                "failures": row.failures,
                "peers": {
                    peer: {
                        "requests_per_second": [round(rate, 1) for rate in row.rates(peer)],
                        "mpzmq_by_peer": [round(ratio, 3) for ratio in row.ratios(peer)],
                        "client_us": [round(c.client_cpu / max(1, c.requests) * 1e6, 2) for c in counts],
                        "server_us": [round(c.server_cpu / max(1, c.requests) * 1e6, 2) for c in counts],
                        "client_rss_mib": round(max(c.client_rss for c in counts) / 2**20, 1),
                        "server_rss_mib": round(max(c.server_rss for c in counts) / 2**20, 1),
                    }
                    for peer, counts in row.counts.items()
                    if counts
                },
            }
            for row in rows
        ],
        "latency_ms": latency,
        "costs": costs,
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """The same figures give the same file."""
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
