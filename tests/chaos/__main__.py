"""``python -m tests.chaos --minutes 10 [--seed S]``; ends with 1 when a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from .report import soak_report
from .soak import Plan, Soak


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def soak(minutes: float, seed: int) -> int:
    """Returns the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="mpzmq-chaos-"))
    say(f"seed {seed}, {minutes:g} min, histories in {folder}\n")
    outcome = await Soak(Plan(seconds=60 * minutes, seed=seed, folder=folder)).run()
    say(soak_report(outcome))
    return bool(outcome.violations)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="of faults")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    return asyncio.run(soak(options.minutes, options.seed))


if __name__ == "__main__":
    sys.exit(main())
