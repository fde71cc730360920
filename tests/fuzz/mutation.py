"""Inputs made of inputs, without coverage: what is there where atheris is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["mutated"]

_BYTES = bytes.fromhex(
    "00 01 02 03 0f 10 7f 80 8f 90 9f a0 c0 c1 c4 c6 c7 c9 ca cb cf d3 d4 d6 d7 d8 d9 db dc dd de df ff"
)
"""Those that mean something in MessagePack."""


def mutated(dice: Random, corpus: list[bytes]) -> bytes:
    """One of the corpus, changed in one place or in some; often with a part of another."""
    data = bytearray(dice.choice(corpus))
    for _ in range(dice.choice((1, 1, 1, 2, 4, 8))):
        place = dice.randrange(len(data) + 1)
        match dice.randrange(7):
            case 0 if place:
                data[place - 1] ^= 1 << dice.randrange(8)
            case 1 if place:
                data[place - 1] = dice.choice(_BYTES)
            case 2:
                data[place:place] = bytes(dice.choice(_BYTES) for _ in range(dice.randrange(1, 9)))
            case 3:
                del data[place : place + dice.randrange(1, 9)]
            case 4:
                other = dice.choice(corpus)
                start = dice.randrange(len(other) + 1)
                data[place:] = other[start:]
            case 5:
                part = bytes(data[place : place + dice.randrange(1, 40)])
                data[place:place] = part * dice.choice((1, 2, 30))
            case _:
                data += dice.choice(corpus)[1:]
    return bytes(data[:60_000])
