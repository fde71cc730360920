"""What was seen, as text, JSON and charts."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

from .compare import OURS
from .peers import load
from .scenarios import COST_TARGETS, ROWS, TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .compare import Row

__all__ = ["as_document", "row_lines", "target", "target_lines", "targets", "write_json"]


def row_lines(row: Row) -> list[str]:
    """One row as a table: rate, ratio with its spread, CPU a request on each side."""
    scenario = ROWS[row.scenario]
    rates = f"{scenario.counted}/s"
    lines = [
        f"{scenario.title} ({row.loop})",
        f"  {'':12} {rates:>11} {'mpzmq is':>10}  {'(min to max)':16} {'client':>8} {'server':>8}  us of CPU",
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


def targets(rows: Sequence[Row], costs: dict[str, float]) -> list[dict[str, str]]:
    """What the project wants, and what was seen, in words."""
    found = []
    for row in rows:
        for goal in TARGETS:
            ratio = row.ratio(goal.peer) if goal.scenario == row.scenario else None
            if ratio is not None:
                work = ROWS[row.scenario].title
                against = load(goal.peer).title
                wanted = f"at least {goal.at_least:g}"
                found.append(target(work, row.loop, against, wanted, f"{ratio:.2f}", ratio >= goal.at_least))
    for key, (work, against, most) in COST_TARGETS.items():
        if key in costs:
            found.append(target(work, "", against, f"under {most:g}", f"{costs[key]:.2f}", costs[key] < most))
    return found


def target(work: str, loop: str, against: str, wanted: str, seen: str, reached: bool) -> dict[str, str]:
    """One goal and what became of it."""
    verdict = "reached" if reached else "missed"
    return {"work": work, "loop": loop, "against": against, "wanted": wanted, "seen": seen, "verdict": verdict}


def target_lines(found: Sequence[dict[str, str]]) -> list[str]:
    """The same, for a terminal."""
    return [
        f"  {t['work']:36} {t['loop']:8} {t['against']:28} {t['wanted']:>13}: {t['seen']:>6}  {t['verdict']}"
        for t in found
    ]


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
        "targets": targets(rows, costs),
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """The same figures give the same file."""
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
