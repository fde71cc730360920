"""Inputs made of inputs, without coverage: what is there where atheris is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = ["mutated"]


def mutated(dice: Random, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """One of the corpus, changed in one place or in some; often with a part of another.

    Args:
        dice: says what is changed.
        corpus: inputs.
        tokens: what means something in them.
    """
    data = bytearray(dice.choice(corpus))
    for _ in range(dice.choice((1, 1, 1, 2, 4, 8))):
        place = dice.randrange(len(data) + 1)
        match dice.randrange(7):
            case 0 if place:
                data[place - 1] ^= 1 << dice.randrange(8)
            case 1 if place:
                data[place - 1 : place] = dice.choice(tokens)
            case 2:
                data[place:place] = b"".join(dice.choice(tokens) for _ in range(dice.randrange(1, 9)))
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
