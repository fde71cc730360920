"""``python -m tests.simulation``: many seeds, one seed with its trace, or the mutations."""

# ruff: noqa: T201  # a program for a terminal

from __future__ import annotations

import argparse
import functools
import logging
import multiprocessing
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .mutations import SEEDS, catch_all
from .worlds import WORLDS

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK = 50
"""Seeds that a process runs before it reports."""

SHOWN_SEEDS = 12
"""How many seeds of a kind of violation the summary names."""


@dataclass
class Tally:
    """What came of some seeds."""

    seeds: int = 0
    failing: list[int] = field(default_factory=list)
    kinds: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    reached: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Adds those of other seeds."""
        self.seeds += other.seeds
        self.failing += other.failing
        for kind, seeds in other.kinds.items():
            self.kinds[kind] += seeds
        self.reached.update(other.reached)


def tally(seeds: Iterable[int], world: str) -> Tally:
    """Runs seeds, and keeps what a summary needs."""
    total = Tally(kinds={})
    for seed in seeds:
        result = WORLDS[world].run(seed)
        total.seeds += 1
        if result.violations:
            total.failing.append(seed)
        for kind in {violation.kind: None for violation in result.violations}:
            total.kinds.setdefault(kind, []).append(seed)
        total.reached.update(name for name, was_reached in result.reached.items() if was_reached)
    return total


def show_one(seed: int, world: str) -> int:
    """Prints the trace of one seed."""
    result = WORLDS[world].run(seed)
    for line in WORLDS[world].trace(result):
        print(line)
    print(f"{len(result.violations)} violations" if result.violations else "every promise was kept")
    return bool(result.violations)


def until_caught(seeds: Iterable[int], world: str, ignored: set[str]) -> int:
    """Runs seeds until one breaks a promise that is not ignored."""
    for seed in seeds:
        found = [found for found in WORLDS[world].run(seed).violations if found.kind not in ignored]
        if found:
            print(f"seed {seed}: {', '.join(dict.fromkeys(violation.kind for violation in found))}")
            return 1
    return 0


def run_many(first: int, count: int, jobs: int, world: str, ignored: set[str]) -> int:
    """Runs many seeds, and prints how far it is and what has come of them."""
    total = Tally()
    began = time.monotonic()
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    with multiprocessing.Pool(jobs, logging.disable) as pool:
        for part in pool.imap_unordered(functools.partial(tally, world=world), chunks):
            total.add(part)
            for kind, failing in part.kinds.items():
                print(f"broke {kind}: {' '.join(map(str, failing[:SHOWN_SEEDS]))}", flush=True)
            took = time.monotonic() - began
            line = f"{total.seeds:,} of {count:,} seeds, {len(total.failing):,} fail, {total.seeds / took:,.0f}/s"
            if sys.stdout.isatty():
                print(f"\r{line}", end="", flush=True)
            elif total.seeds % (20 * CHUNK) == 0:
                print(line, flush=True)
    print(f"\n{1000 * jobs * took / total.seeds:.1f} ms a seed and process; of {total.seeds:,} seeds had")
    for name, seeds in total.reached.most_common():
        print(f"  {seeds:>9,}  {name}")
    for kind, failing in sorted(total.kinds.items(), key=lambda entry: -len(entry[1])):
        note = " (ignored)" if kind in ignored else ""
        print(f"{len(failing):>7,} seeds broke {kind}{note}: {' '.join(map(str, sorted(failing)[:SHOWN_SEEDS]))}")
    broken = set(total.kinds) - ignored
    again = f"reproduce one with: python -m tests.simulation --world {world} --seed N"
    print(again if broken else "every promise was kept")
    return bool(broken)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--world", choices=list(WORLDS), default="network", help="what is simulated (network)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--seed", type=int, help="run this one only, and print its trace")
    parser.add_argument("--until-caught", action="store_true", help="stop at the first violation, in this process")
    parser.add_argument("--mutations", action="store_true", help=f"find every mutation within {SEEDS:,} seeds")
    parser.add_argument("--ignore", action="append", default=[], metavar="KIND", help="a kind of violation")
    options = parser.parse_args()
    logging.disable()
    ignored = set(options.ignore)
    if options.seed is not None:
        return show_one(options.seed, options.world)
    if options.mutations:
        return bool(catch_all(options.ignore))
    if options.until_caught:
        return until_caught(range(options.first, options.first + options.seeds), options.world, ignored)
    return run_many(options.first, options.seeds, options.jobs, options.world, ignored)


if __name__ == "__main__":
    sys.exit(main())
