"""Charts of a results file, with matplotlib. The same figures give the same bytes."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from .peers import PEERS, load
from .scenarios import SCENARIOS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["draw"]

OURS, OTHER = "#d1495b", "#8d99ae"

HEADLINES = ("echo-1", "echo-1000", "dict-64")
"""The rows of the chart in the README."""
_METADATA = {"Date": None, "Creator": None}


def draw(document: dict[str, Any], folder: Path) -> list[Path]:
    """Draws what the document holds; returns the files."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "mpzmq", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False})
    mpl.rcParams.update({"axes.spines.right": False, "figure.constrained_layout.use": True})
    drawn = []
    headlines: dict[str, Any] = {}
    loops = list(dict.fromkeys(row["loop"] for row in document["rows"]))
    for loop in loops:
        rows = {row["scenario"]: row["peers"] for row in document["rows"] if row["loop"] == loop and row["peers"]}
        if rows:
            drawn.append(_bars(rows, document, loop, folder / f"rates-{loop}.svg"))
            headlines = {name: peers for name, peers in rows.items() if name in HEADLINES}
    if loops and headlines:
        drawn.append(_bars(headlines, document, loops[-1], folder / "summary.svg"))
    if document["latency_ms"]:
        drawn.append(_percentiles(document["latency_ms"], folder / "latency.svg"))
    return drawn


def _bars(rows: dict[str, Any], document: dict[str, Any], loop: str, path: Path) -> Path:
    import matplotlib.pyplot as plt

    columns = 3
    lines = -(-len(rows) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(11, 2.3 * lines), squeeze=False)
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    order = list(PEERS)
    for axis, (scenario, peers) in zip(axes.flat, rows.items(), strict=False):
        names = sorted(peers, key=order.index, reverse=True)
        rates = [statistics.median(peers[name]["requests_per_second"]) for name in names]
        bars = axis.barh(range(len(names)), rates, color=[OURS if name == "mpzmq" else OTHER for name in names])
        axis.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates], padding=2, fontsize=7)
        axis.set_yticks(range(len(names)), [load(name).title for name in names], fontsize=7)
        axis.set_title(SCENARIOS[scenario].title, fontsize=9, loc="left")
        axis.margins(x=0.2)
        axis.set_xticks([])
    versions = document["machine"]
    figure.suptitle(
        f"Echoes a second, {loop}, Python {versions['python']}, {versions['cores']} cores (median; more is better)",
        fontsize=10,
    )
    figure.savefig(path, metadata=_METADATA)
    plt.close(figure)
    return path


def _percentiles(latency: dict[str, Any], path: Path) -> Path:
    import matplotlib.pyplot as plt

    shares = sorted({key for peer in latency.values() for key in peer if float(key) < 1}, key=float)
    figure, axes = plt.subplots(1, len(shares), figsize=(11, 3), squeeze=False, sharey=True)
    for axis, share in zip(axes.flat, shares, strict=True):
        for number, (name, by_share) in enumerate(latency.items()):
            seen = by_share.get(share)
            if seen is None:
                continue
            points = sorted((float(key), value) for key, value in seen.items() if key not in ("rate", "100"))
            places = [1 / (1 - percent / 100) for percent, _ in points]
            color = OURS if name == "mpzmq" else f"C{number}"
            label = f"{load(name).title}, {seen['rate']:,.0f}/s"
            axis.plot(places, [value for _, value in points], label=label, color=color)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks([2, 10, 100, 1000, 10000], ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"], fontsize=7)
        axis.set_title(f"at {float(share):.0%} of its own capacity", fontsize=9, loc="left")
        axis.legend(fontsize=6)
    axes[0][0].set_ylabel("ms from the scheduled time")
    figure.savefig(path, metadata=_METADATA)
    plt.close(figure)
    return path
