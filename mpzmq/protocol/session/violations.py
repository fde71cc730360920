"""The rules that a connection to a container may break, in words for the log."""

from __future__ import annotations

__all__ = ["BAD_CHUNK", "HEEDLESS", "REFUSED_ITEM", "WITHOUT_SESSION"]

HEEDLESS = "it sends more than it may (Limits.window), and does not read what it is told"
WITHOUT_SESSION = "it sends more than it may without a HELLO that was accepted"
BAD_CHUNK = "items of a stream came out of order, or beyond the credit of that stream"
REFUSED_ITEM = "a large item of a stream could not be taken in, and its handler waits for it"
