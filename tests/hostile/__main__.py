"""The long run: ``python -m tests.hostile --messages 1000000 --minutes 10``. On loopback only.

Ends with 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from random import SystemRandom

from .long_run import Plan, run


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000, help="mutated ones, half of them each way")
    parser.add_argument("--minutes", type=float, default=10.0, help="of raw attacks")
    parser.add_argument("--keys", action="store_true", help="raw attacks only, on a container that has keys")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say(f"seed {options.seed}")
    outcome = asyncio.run(run(Plan(options.messages, 60 * options.minutes, options.seed, options.keys), say))
    say(outcome.report())
    return bool(outcome.violations)


if __name__ == "__main__":
    sys.exit(main())
