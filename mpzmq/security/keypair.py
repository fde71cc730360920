"""CURVE keys as values. They are written in Z85, as ZeroMQ's own tools write them: 40 characters for 32 bytes."""

from __future__ import annotations

import string
from dataclasses import dataclass, field

from ..common.set_module import set_module

__all__ = ["KEY_SIZE", "KeyPair", "check_key"]

KEY_SIZE = 40
"""Characters of a key in Z85 (rfc.zeromq.org/spec/32)."""

_ALPHABET = frozenset(string.digits + string.ascii_letters + ".-:+=^!/*?&<>()[]{}@%$#")


def check_key(value: object, what: str) -> str:
    """Whether a value is a key, in its form at least.

    Args:
        value: the key.
        what: what it should be, for the error.

    Raises:
        TypeError: it is not text.
        ValueError: it is not 40 characters of Z85.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str of {KEY_SIZE} characters (Z85), not {type(value).__name__}")
    if len(value) != KEY_SIZE or not _ALPHABET.issuperset(value):
        raise ValueError(
            f"{what} has {KEY_SIZE} characters of Z85, as mpzmq.keys.generate() makes them; this is not a key"
        )
    return value


@set_module("mpzmq.keys")
@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """The keys of one engine or container; :func:`mpzmq.keys.generate` makes them.

    Attributes:
        public: what others may know, and know it by.
        secret: what proves that it is the one. It is not shown by ``repr``.
    """

    public: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        check_key(self.public, "a public key")
        check_key(self.secret, "a secret key")
