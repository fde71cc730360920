"""Connections that break the rules: which are to be cut, what of it is to be logged, and why."""

from __future__ import annotations

__all__ = ["BAD_CHUNK", "HEEDLESS", "REFUSED_ITEM", "WITHOUT_SESSION", "Violations"]

HEEDLESS = "it sends more than it may (Limits.window), and does not read what it is told"
WITHOUT_SESSION = "it sends more than it may without a HELLO that was accepted"
BAD_CHUNK = "items of a stream came out of order, or beyond the credit of that stream"
REFUSED_ITEM = "a large item of a stream could not be taken in, and its handler waits for it"


class Violations:
    """What is known of them, and not yet acted upon.

    Attributes:
        to_cut: connections that are to be ended, each with the rule that it broke.
        greeting: the last greeting that was not accepted, on either side, in words; empty: none.
    """

    __slots__ = ("greeting", "to_cut")

    def __init__(self) -> None:
        self.to_cut: dict[bytes, str] = {}
        self.greeting = ""

    def __bool__(self) -> bool:
        return bool(self.to_cut or self.greeting)
