"""What a message can carry, and how buffers stand in for themselves.

The sender's type decides what arrives, never the size: ``bytes`` arrive as ``bytes``, any other buffer as a
read-only ``memoryview`` of the same format and shape, an array as an array. Buffers and large ``bytes`` are never
copied into MessagePack: they travel as frames of their own, and an ext value points at them by index.
"""

from __future__ import annotations

__all__ = [
    "ARRAY_KINDS",
    "EXT_BUFFER",
    "EXT_UUID",
    "KEYS",
    "LARGE_BYTES",
    "MANY",
    "VIEW_FORMATS",
    "Buffer",
    "unchanging",
]

Buffer = bytes | memoryview

EXT_BUFFER = 1
EXT_UUID = 2

LARGE_BYTES = 16 * 1024
"""``bytes`` from this size on travel as a frame of their own: below, copying them is cheaper than a frame."""

MANY = 32
"""Number of elements from which on asking for all types at once is faster than asking for each."""

KEYS = frozenset({str, int, bytes})
"""What a dict's keys may be."""

VIEW_FORMATS = frozenset("?bBchHiIlLqQnNfdP")
"""The formats that ``memoryview.cast()`` takes."""

ARRAY_KINDS = frozenset("?biufcSUVmM")
"""The kinds of numpy dtypes without references to Python objects."""


def unchanging(buffer: Buffer) -> Buffer:
    """The buffer, or a copy: of what can be changed, of a small part of something large, of what cannot be told."""
    if isinstance(buffer, bytes):
        return buffer
    owner = buffer.obj
    try:
        whole = memoryview(owner)
        # Behind the base of an array may be much more, and whatever can be written to.
        is_whole = whole.readonly and whole.nbytes <= 2 * buffer.nbytes and not hasattr(type(owner), "base")
    except Exception:
        is_whole = False
    return buffer if is_whole else bytes(buffer)
