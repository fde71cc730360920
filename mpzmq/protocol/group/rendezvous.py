"""Keys: the same one goes to the same member, and a member that leaves moves no keys but its own."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .candidate import Candidate

__all__ = ["ranked", "winner", "written_key"]

_C = TypeVar("_C", bound="Candidate")

MAX_DEPTH, MAX_BYTES = 32, 65_536
"""Of a key that is a tuple."""

SHORT = 64
"""Bytes up to which a key is kept as it is."""


def written_key(key: Any) -> bytes:
    """A key as bytes: the same in every process, and others for every other key.

    Raises:
        TypeError: it is none of str, bytes, int, UUID, and tuples of these.
        ValueError: it is a tuple that is nested too deep, or too large.
    """
    written = _written(key, 0)
    # Pools remember the keys that they have seen.
    return written if len(written) <= SHORT else b"h" + hashlib.blake2b(written, digest_size=32).digest()


def _written(key: Any, depth: int) -> bytes:
    match key:
        case str():
            return b"s" + str.encode(key, "utf-8", "surrogatepass")
        case bytes():
            return b"b" + key
        case int() if not isinstance(key, bool):
            return b"i%x" % key  # of any size: decimal digits have a limit
        case UUID():
            return b"u" + key.bytes
        case tuple():
            if depth == MAX_DEPTH:
                raise ValueError(f"a key is a tuple that is nested {MAX_DEPTH} deep at most")
            written = bytearray(b"t")
            for part in tuple.__iter__(key):
                one = _written(part, depth + 1)
                written += b"%d:%s" % (len(one), one)
                if len(written) > MAX_BYTES:  # one tuple in another twice, and so on, would take for ever
                    raise ValueError(f"a key that is a tuple has {MAX_BYTES} bytes at most: use a digest of it")
            return bytes(written)
    raise TypeError(f"a key is a str, bytes, int, UUID, or a tuple of these, and not {type(key).__name__}")


def _score(member: Candidate, key: bytes) -> float:
    """How high a member stands in the ranking of a key: by a hash of both, stretched by its weight."""
    name = member.name.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(b"%d:%s%s" % (len(name), name, key), digest_size=8)
    drawn = ((int.from_bytes(digest.digest()) >> 12) + 0.5) / (1 << 52)  # more than 0 and less than 1, exactly
    return math.log(member.weight) - math.log(-math.log(drawn))  # of weight / -log(drawn), which may be too large


def winner(members: Iterable[_C], key: bytes) -> _C:
    """The member to which a key belongs, of one or more."""
    return max(members, key=lambda member: _score(member, key))


def ranked(members: Iterable[_C], key: bytes) -> list[_C]:
    """All members, the one first to which the key belongs, and then those that take it in its absence."""
    return sorted(members, key=lambda member: _score(member, key), reverse=True)
