"""The corpus is replayed, a short blind run is made, and costs grow with the bytes and not with their square."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq.config import Limits
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.messages import MessageDecoder

from .cost import MEMORY_FACTOR, peak_memory
from .door import LIMITS, Door, packed_input, unpacked_input
from .mutation import mutated
from .seeds import made, saved

if TYPE_CHECKING:
    from pathlib import Path

SEED, INPUTS = 20261125, 4000
MEBIBYTE = 1 << 20


@pytest.mark.parametrize("path", saved(), ids=lambda path: path.stem)
def test_the_corpus(path: Path) -> None:
    Door().push(path.read_bytes())


def test_the_corpus_is_that_of_the_protocol() -> None:
    kept = {path.read_bytes() for path in saved()}
    assert kept.issuperset(made().values()), "run python -m tests.fuzz.seeds"


def test_a_short_blind_run() -> None:
    dice, door = random.Random(SEED), Door()
    corpus = [path.read_bytes() for path in saved()]
    records = 0
    for number in range(INPUTS):
        data = mutated(dice, corpus)
        try:
            records += door.push(data)
        except Exception as error:
            error.add_note(f"input {number} of seed {SEED}: {data.hex()}")
            raise
    assert records > INPUTS // 4, "hardly anything came through the door"


def test_what_is_pushed_is_what_was_packed() -> None:
    messages = [[b"a", b"", b"b" * 1000], [], [b"c"]]
    assert unpacked_input(packed_input(1, messages)) == (1, messages)


@pytest.mark.parametrize("answered", [Kind.REQUEST, Kind.RESPONSE])
def test_memory_is_in_proportion(answered: int) -> None:
    dice = random.Random(SEED)
    reader = MessageDecoder(LIMITS, answered)
    corpus = [path.read_bytes() for path in saved()]
    for _ in range(100):
        for frames in unpacked_input(mutated(dice, corpus))[1]:
            size = sum(map(len, frames))
            assert peak_memory(lambda frames=frames: reader.decode(frames)) <= MEBIBYTE + MEMORY_FACTOR * size  # type: ignore[misc]


class Counting(bytes):
    """Bytes that know how often one of them was looked at, as the scan does in Python code."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        Counting.looks += 1
        return super().__getitem__(key)


REPEATED: dict[str, bytes] = {
    "nil": b"\xc0", "empty arrays": b"\x90", "small maps": b"\x81\xa1k\x01", "long headers": b"\xdc\x00\x01\xc0",
    "texts": b"\xa3abc", "numbers": b"\xcf" + bytes(8), "records": b"\x92\x07\x01", "ext": b"\xd4\x63\x00",
}  # fmt: skip


@pytest.mark.parametrize("name", REPEATED)
def test_looks_at_bytes_are_bounded(name: str) -> None:
    """Of values behind the last one that is expected nothing is looked at; and no byte twice."""
    limits = Limits()
    reader = MessageDecoder(limits, Kind.REQUEST)
    for size in (200_000, 800_000, 3_200_000):
        Counting.looks = 0
        data = Counting(REPEATED[name] * (size // len(REPEATED[name])))
        message = reader.decode([bytes(15) + b"\x01", data])
        assert message.malformed and not message.records
        assert Counting.looks < 10
        Counting.looks = 0
        inside = Counting(b"\xdd" + (limits.items).to_bytes(4, "big") + data)
        reader.decode([bytes(15) + b"\x01", inside])
        assert Counting.looks <= 2 * len(inside)
