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

_MAX = 1 << 64


def written_key(key: Any) -> bytes:
    """A key as bytes: the same in every process, and others for every other key.

    Raises:
        TypeError: it is none of str, bytes, int, UUID, and tuples of these.
    """
    match key:
        case str():
            return b"s" + key.encode("utf-8", "surrogatepass")
        case bytes():
            return b"b" + key
        case int() if not isinstance(key, bool):
            return b"i%x" % key  # of any size: decimal digits have a limit
        case UUID():
            return b"u" + key.bytes
        case tuple():
            parts = [written_key(part) for part in key]
            return b"t" + b"".join(b"%d:%s" % (len(part), part) for part in parts)
    raise TypeError(f"a key is a str, bytes, int, UUID, or a tuple of these, and not {type(key).__name__}")


def _score(member: Candidate, key: bytes) -> float:
    """How high a member stands in the ranking of a key: by a hash of both, stretched by its weight."""
    name = member.name.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(b"%d:%s%s" % (len(name), name, key), digest_size=8)
    return -member.weight / math.log((int.from_bytes(digest.digest()) + 1) / (_MAX + 1))


def winner(members: Iterable[_C], key: bytes) -> _C:
    """The member to which a key belongs, of one or more."""
    return max(members, key=lambda member: _score(member, key))


def ranked(members: Iterable[_C], key: bytes) -> list[_C]:
    """All members, the one first to which the key belongs, and then those that take it in its absence."""
    return sorted(members, key=lambda member: _score(member, key), reverse=True)
