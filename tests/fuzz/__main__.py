"""``python -m tests.fuzz --door gateway --minutes 10``: by coverage where atheris is installed, else by blind mutation.

Ends with 1 when there was a finding; each is written to ``--findings`` and belongs into the corpus.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
import traceback
from pathlib import Path

from .cost import MEMORY_FACTOR, peak_memory
from .doors import DOORS
from .mutation import mutated
from .seeds import keep, saved

SLOW = 2e-5, 0.1
"""Seconds for a byte, and for any input, beyond which it is a finding. Most take a tenth of it."""

OVERHEAD = 4 << 20
"""Bytes that any input may take: the parser's own buffers are among them."""


class Fuzz:
    """Pushes inputs, and keeps the findings."""

    def __init__(self, door: str, findings: Path) -> None:
        self.name = door
        self.door = DOORS[door]()
        self.findings = findings
        self.inputs = self.records = self.found = 0
        self.slowest = (0.0, 0, b"")

    def push(self, data: bytes) -> None:
        """One input."""
        self.inputs += 1
        began = time.thread_time()
        try:
            self.records += self.door.push(data)
        except Exception:
            self._note("", data)
            sys.stderr.write(traceback.format_exc())
            return
        took = time.thread_time() - began
        if took > self.slowest[0]:
            self.slowest = (took, len(data), data)
        if took > SLOW[1] + SLOW[0] * len(data):
            self._note(f"slow: {took:.3f} s for {len(data)} bytes", data)
        if self.inputs % 500 == 0 and (
            taken := peak_memory(lambda: self.door.push(data))
        ) > OVERHEAD + MEMORY_FACTOR * len(data):
            self._note(f"large: {taken} bytes for {len(data)}", data)

    def _note(self, text: str, data: bytes) -> None:
        self.found += 1
        sys.stderr.write(f"{text} in {keep(data, self.findings)}\n")

    def report(self, seconds: float) -> str:
        """What there was."""
        took, size, _ = self.slowest
        return (
            f"{self.name}: {self.inputs} inputs in {seconds:.0f} s, {self.records} came through, slowest"
            f" {took * 1000:.1f} ms ({size} bytes), {self.found} findings\n"
        )


def blind(fuzz: Fuzz, seconds: float, seed: int) -> None:
    """Mutates the corpus until the time is over."""
    dice, corpus = random.Random(seed), [path.read_bytes() for path in saved(fuzz.name)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(dice, corpus, fuzz.door.tokens)
        before = fuzz.records
        fuzz.push(data)
        if fuzz.records > before and len(corpus) < 5000 and dice.random() < 0.01:
            corpus.append(data[:4000])


def guided(fuzz: Fuzz, seconds: float, seed: int, folder: Path) -> None:
    """By coverage. libFuzzer ends the process itself: the report is written from within."""
    import atheris

    began = time.monotonic()

    def one(data: bytes) -> None:
        fuzz.push(data)
        if time.monotonic() - began > seconds:
            sys.stdout.write(fuzz.report(time.monotonic() - began))
            sys.stdout.flush()
            os._exit(bool(fuzz.found))  # an exception would be taken for a finding

    folder.mkdir(parents=True, exist_ok=True)
    places = [str(folder), *({str(path.parent) for path in saved(fuzz.name)})]
    atheris.Setup([sys.argv[0], f"-seed={seed}", "-max_len=8192", "-verbosity=0", *places], one)
    atheris.Fuzz()


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--door", choices=list(DOORS), default="wire", help="which one (wire)")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1_000_000))
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"), help="where they are written")
    parser.add_argument("--blind", action="store_true", help="without atheris")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.flush()
    seconds, fuzz = 60 * options.minutes, Fuzz(options.door, options.findings)
    try:
        if options.blind:
            raise ImportError
        guided(fuzz, seconds, options.seed, options.findings / "coverage")
    except ImportError:
        blind(fuzz, seconds, options.seed)
        sys.stdout.write(fuzz.report(seconds))
    return bool(fuzz.found)


if __name__ == "__main__":
    sys.exit(main())
