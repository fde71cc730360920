"""What a run found, as text."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .soak import SoakResult

__all__ = ["seconds", "soak_report", "some", "table"]

EXAMPLES = 3
"""Violations of one kind that are shown."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def seconds(samples: Sequence[float]) -> str:
    """Median and maximum; a dash where there is nothing."""
    return f"{median(samples):.2f} s, {max(samples):.2f} s" if samples else "-"


def some(samples: Sequence[int], count: int = 12) -> Sequence[int]:
    """About so many of them, evenly spread."""
    return samples[:: max(1, len(samples) // count)]


def soak_report(outcome: SoakResult) -> str:
    """Faults with their times, then what was counted, then what is wrong."""
    rows = [
        (name, str(count), seconds(outcome.detected.get(name, [])), seconds(outcome.recovered.get(name, [])))
        for name, count in sorted(outcome.faults.items())
    ]
    text = [
        table(("fault", "times", "LinkDown after (median, max)", "answers again after (median, max)"), rows),
        "",
        "requests: " + ", ".join(f"{count:,} {name}" for name, count in outcome.requests.most_common()),
        f"handlers started: {outcome.runs:,}; sent again: {outcome.resent:,}",
        f"bytes flipped: {outcome.flips:,}; handlers started for ids that this made: {outcome.strangers:,}",
        f"the engine's event loop was late by {outcome.lag:.2f} s at most",
    ]
    if outcome.memory:
        text.append(f"the engine's memory in MiB: {', '.join(str(sample >> 20) for sample in some(outcome.memory))}")
    if outcome.containers:
        whose, samples = max(outcome.containers.items(), key=lambda item: len(item[1]))
        text.append(f"memory of {whose}, in MiB: {', '.join(str(sample >> 20) for sample in some(samples))}")
    text.append("")
    kinds = Counter(violation.kind for violation in outcome.violations)
    for kind, count in kinds.most_common():
        text.append(f"VIOLATED: {kind}, {count} times")
        text += [f"  {one.text}" for one in outcome.violations if one.kind == kind][:EXAMPLES]
    return "\n".join([*text, "" if kinds else "No promise was broken."])
