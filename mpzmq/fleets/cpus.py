"""Processors, shared out among processes."""

from __future__ import annotations

import os

__all__ = ["share_of", "usable_cpus", "wanted_cpus"]


def usable_cpus() -> list[int]:
    """The processors on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def wanted_cpus(text: str) -> list[int]:
    """Processors as people name them.

    Args:
        text: ``"0-3,8"``, or ``"auto"`` for all that can be used.

    Raises:
        ValueError: they are malformed, or cannot be used; the text says which.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("this system does not let a process choose its processors")
    usable = usable_cpus()
    if text == "auto":
        return usable
    wanted: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdecimal() and (not dash or (last.isascii() and last.isdecimal()))):
            raise ValueError(f"{text!r} names no processors: write them as 0-3,8, or auto")
        low, high = int(first), int(last or first)
        if low > high:
            raise ValueError(f"{part.strip()!r} goes backwards")
        if high > usable[-1]:
            raise ValueError(f"processor {high} cannot be used here; {_shown(usable)} can")
        wanted.update(range(low, high + 1))
    for cpu in sorted(wanted):
        if cpu not in usable:
            raise ValueError(f"processor {cpu} cannot be used here; {_shown(usable)} can")
    return sorted(wanted)


def share_of(number: int, count: int, cpus: list[int]) -> list[int]:
    """The processors of one process of several.

    Args:
        number: which one, from 0.
        count: how many there are.
        cpus: those to be shared out.

    Returns:
        Its own ones, side by side; where there are fewer than processes, one in turn.
    """
    if not cpus:
        return []
    if len(cpus) < count or number >= count:
        return [cpus[number % len(cpus)]]
    return cpus[number * len(cpus) // count : (number + 1) * len(cpus) // count]


def _shown(cpus: list[int]) -> str:
    return ", ".join(str(cpu) for cpu in cpus[:16]) + (", ..." if len(cpus) > 16 else "")
