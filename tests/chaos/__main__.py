"""Real faults, for as long as one likes: ``python -m tests.chaos --minutes 10``.

Ends with 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from mpzmq import HeartbeatPolicy, ReconnectPolicy
from tests.support.node import installed

from .history import described
from .many_links import Plan as LinksPlan
from .many_links import links_report, many_links
from .netns import why_not
from .node import PAIRS, truth
from .partition import WAYS, partitioned
from .report import soak_report
from .soak import CALLERS, PAUSE, Plan, Soak
from .times import measured

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""What docs/reliability.md says to set where the memory of a process is watched: glibc keeps what was freed."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def soak(minutes: float, seed: int, callers: int, pause: float) -> int:
    """Returns the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="mpzmq-chaos-"))
    say(f"seed {seed}, {minutes:g} min, {callers} callers, {pause:g} s between requests, histories in {folder}\n")
    plan = Plan(seconds=60 * minutes, seed=seed, folder=folder, callers=callers, pause=pause)
    outcome = asyncio.run(Soak(plan).run())
    say(soak_report(outcome))
    return bool(outcome.violations)


def partition(length: float) -> int:
    """All three partitions of this length, with the default policies; returns the exit code."""
    if (reason := why_not()) is not None:
        say(f"no partition: {reason}")
        return 1
    heartbeat, code = HeartbeatPolicy(), 0
    for way in WAYS:
        found = partitioned(way, length, heartbeat, ReconnectPolicy())
        seen = "no LinkDown" if found.detected is None else f"LinkDown after {found.detected:.2f} s"
        back = f"first answer {found.recovered:.2f} s after the heal"
        ends = {name: found.outcomes.count(name) for name in sorted(set(found.outcomes))}
        say(f"{way}, {length:g} s: {seen}, {back}, {ends}")
        if found.violations:
            say(described(found.violations))
            code = 1
        in_time = heartbeat.down_after + heartbeat.interval
        if length > in_time and (found.detected is None or found.detected > in_time + 1.0):
            say(f"VIOLATED: it was to be seen within {in_time:g} s")
            code = 1
        # TCP sends again after 0.2, 0.6, 1.4, 3.0 and 6.2 s: after more than 3 s, the next one comes when all is over.
        if length <= 3.0 and found.detected is not None:
            say("VIOLATED: it was too short to be seen")
            code = 1
    return code


def node(calls: int) -> int:
    """Calls between Python and the example in Node; returns the exit code."""
    code = 0
    with tempfile.TemporaryDirectory(prefix="mpzmq-node-") as folder:
        example = installed(Path(folder))
        for number, pair in enumerate(PAIRS):
            (place := Path(folder) / str(number)).mkdir()
            found = asyncio.run(truth(pair, calls, place, example))
            ends = ", ".join(f"{what} {found.told[what]}" for what in ("answered", "NO", "UNKNOWN", "YES"))
            say(f"{pair}: {calls} calls, {ends}; untruthful {len(found.untruthful)}; drained with {found.drained}")
            for text in found.untruthful:
                say(f"VIOLATED: {text}")
            code |= bool(found.untruthful or found.drained)
    return code


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--minutes", type=float, default=1.0, help="a soak: faults for so long (the default, 1)")
    what.add_argument("--partition", type=float, metavar="SECONDS", help="partitions of this length, as root")
    what.add_argument("--node", type=int, metavar="CALLS", help="so many calls in each direction to and from Node")
    what.add_argument(
        "--links", type=int, metavar="PROCESSES", help="links to 50 containers in each of so many processes"
    )
    what.add_argument("--times", action="store_true", help="a table: how soon faults are seen, and are over")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000), help="of the soak")
    parser.add_argument("--rounds", type=int, default=5, help="of each fault in the table")
    parser.add_argument("--callers", type=int, default=CALLERS, help="that ask in the soak")
    parser.add_argument("--pause", type=float, default=PAUSE, help="seconds between two requests of a caller")
    options = parser.parse_args()
    if not MALLOC.keys() & os.environ.keys():  # glibc reads them when a process begins
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **MALLOC})
    # Namespaces and processes are cleaned up on the way out, also when `timeout` ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.node is not None:
        return node(options.node)
    if options.links is not None:
        plan = LinksPlan(processes=options.links)
        say(links_report(plan, asyncio.run(many_links(plan))))
        return 0
    if options.times:
        say(measured(options.rounds))
        return 0
    if options.partition is not None:
        return partition(options.partition)
    return soak(options.minutes, options.seed, options.callers, options.pause)


if __name__ == "__main__":
    sys.exit(main())
