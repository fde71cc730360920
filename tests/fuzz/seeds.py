"""The corpus: the vectors of the protocol, some messages that lead further, and every finding.

``python -m tests.fuzz.seeds`` writes what can be made. Findings are added by hand, under a name that tells what they
are.
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

from mpzmq.protocol.wire.records import LINK_TAG
from tests.hostile.mutate import CONTAINER, ENGINE, valid

from .door import known_tags, packed_input

__all__ = ["FOLDER", "made", "saved"]

FOLDER = Path(__file__).parent / "corpus"


def made() -> dict[str, bytes]:
    """Name to input."""
    from tests.protocol.wire.test_vectors import BLOCK, PAGE, parsed  # not for a fuzzer, which may have no pytest

    found: dict[str, bytes] = {}
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        vector = parsed(block)
        if sum(map(len, vector.frames)) < 2000:
            side = int(vector.sender == "container")
            found[f"vector-{vector.name}"] = packed_input(side, [vector.frames])
    dice = random.Random(20261125)
    for number in range(20):
        for side, liar in enumerate((ENGINE, CONTAINER)):
            messages = []
            for _ in range(dice.randrange(2, 6)):
                draft = valid(dice, liar)
                draft.buffers = [buffer[:200] for buffer in draft.buffers]
                # Streams go on under the tags of their requests: a container learns them here, an engine knows them.
                draft.tags = [one if one == LINK_TAG else dice.choice([*known_tags(), one]) for one in draft.tags]
                messages.append(draft.frames())
            data = packed_input(side, messages)
            if len(data) < 4000:
                found[f"talk-{liar}-{number}"] = data
    return found


def saved() -> list[Path]:
    """The files of the corpus."""
    return sorted(FOLDER.glob("*.bin"))


def write() -> None:
    """Writes what can be made."""
    FOLDER.mkdir(exist_ok=True)
    for name, data in made().items():
        word = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
        (FOLDER / f"{word}.bin").write_bytes(data)


def keep(data: bytes, folder: Path) -> Path:
    """Writes a finding."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"finding-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    write()
    sys.stdout.write(f"{len(saved())} files in {FOLDER}\n")
