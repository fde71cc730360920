"""The corpus is replayed, a short blind run is made, and costs grow with the bytes and not with their square."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq.config import Limits
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.messages import MessageDecoder

from .cost import MEMORY_FACTOR, peak_memory
from .doors import DOORS
from .mutation import mutated
from .seeds import made, saved
from .wire_door import LIMITS, WireDoor, packed_input, unpacked_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .door import Door

SEED = 20261125
INPUTS = {
    "wire": 4000,
    "rust-client": 400,
    "rust-container": 250,
    "lobby": 3000,
    "gateway": 800,
    "admin": 1000,
    "json": 4000,
}
MEBIBYTE = 1 << 20


@pytest.fixture(params=DOORS)
def named(request: pytest.FixtureRequest) -> Iterator[tuple[str, Door]]:
    """A door, and its name."""
    door = DOORS[request.param]()
    yield request.param, door
    door.close()


def test_the_corpus(named: tuple[str, Door]) -> None:
    name, door = named
    for path in saved(name):
        try:
            door.push(path.read_bytes())
        except Exception as error:
            error.add_note(path.name)
            raise


@pytest.mark.parametrize("name", DOORS)
def test_the_corpus_is_that_of_the_protocol(name: str) -> None:
    kept = {path.read_bytes() for path in saved(name)}
    assert kept.issuperset(made(name).values()), "run python -m tests.fuzz.seeds"


def test_a_short_blind_run(named: tuple[str, Door]) -> None:
    name, door = named
    dice = random.Random(SEED)
    corpus = [path.read_bytes() for path in saved(name)]
    through = 0
    for number in range(INPUTS[name]):
        data = mutated(dice, corpus, door.tokens)
        try:
            through += door.push(data)
        except Exception as error:
            error.add_note(f"input {number} of seed {SEED}: {data.hex()}")
            raise
    assert through > INPUTS[name] // 12, "hardly anything came through the door"


def test_what_is_pushed_is_what_was_packed() -> None:
    messages = [[b"a", b"", b"b" * 1000], [], [b"c"]]
    assert unpacked_input(packed_input(1, messages)) == (1, messages)


@pytest.mark.parametrize("answered", [Kind.REQUEST, Kind.RESPONSE])
def test_memory_is_in_proportion(answered: int) -> None:
    dice = random.Random(SEED)
    reader = MessageDecoder(LIMITS, answered)
    corpus = [path.read_bytes() for path in saved("wire")]
    for _ in range(100):
        for frames in unpacked_input(mutated(dice, corpus, WireDoor.tokens))[1]:
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
