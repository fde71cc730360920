"""What a message can carry, and how buffers stand in for themselves.

The sender's type decides what arrives, never the size: ``bytes`` arrive as ``bytes``, any other buffer as a
read-only ``memoryview`` of the same format and shape, an array as an array. Buffers and large ``bytes`` are never
copied into MessagePack: they travel as frames of their own, and an ext value points at them by index.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final
from weakref import WeakSet

__all__ = [
    "ARRAY_KINDS",
    "AS_IT_IS",
    "EXT_BUFFER",
    "EXT_UUID",
    "KEYS",
    "LARGE_BYTES",
    "MANY",
    "VIEW_FORMATS",
    "Buffer",
    "mark_received",
    "unchanging",
]

Buffer = bytes | memoryview

EXT_BUFFER: Final = 1
EXT_UUID: Final = 2

LARGE_BYTES: Final = 16 * 1024
"""``bytes`` from this size on travel as a frame of their own: below, copying them is cheaper than a frame."""

MANY: Final = 32
"""Number of elements from which on asking for all types at once is faster than asking for each."""

KEYS: Final = frozenset({str, int, bytes})
"""What a dict's keys may be."""

VIEW_FORMATS = frozenset("?bBchHiIlLqQnNfdP")
"""The formats that ``memoryview.cast()`` takes."""

ARRAY_KINDS = frozenset("?biufcSUVmM")
"""The kinds of numpy dtypes without references to Python objects."""


AS_IT_IS: Final = object()
"""Said of a value that whoever carries the application's types does not know."""


_received: WeakSet[Any] = WeakSet()  # what owns buffers that were received


def mark_received(buffer: memoryview) -> None:
    """A buffer was received: nobody writes to its memory, though that may look as if one could."""
    if type(buffer.obj) is not bytes:
        with contextlib.suppress(TypeError):  # an owner that cannot be remembered: what is kept of it will be a copy
            _received.add(buffer.obj)


def unchanging(buffer: Buffer) -> Buffer:
    """The buffer, or a copy: of what can be changed, of a small part of something large, of what cannot be told."""
    if isinstance(buffer, bytes):
        return buffer
    owner = buffer.obj
    try:
        whole = memoryview(owner)
        # Behind the base of an array may be much more, and whatever can be written to.
        never_changes = owner in _received or (whole.readonly and not hasattr(type(owner), "base"))
        is_whole = never_changes and whole.nbytes <= 2 * buffer.nbytes
    except Exception:
        is_whole = False
    return buffer if is_whole else bytes(buffer)
