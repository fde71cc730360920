"""Large messages that need not be large: a simulated world may cut them into parts of some hundred bytes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mpzmq.handlers import admission
from mpzmq.protocol.flow import fragmenter as parts
from mpzmq.protocol.flow import outbox, reassembler
from mpzmq.protocol.requester import nested_calls as calls
from mpzmq.protocol.requester import tracker as tracker
from mpzmq.protocol.responder import nested_calls as called

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["UNREAD_PARTS", "parts_of"]

UNREAD_PARTS = 4
"""How many may be on their way at once."""


@contextlib.contextmanager
def parts_of(size: int | None) -> Iterator[None]:
    """Cuts messages into parts of this size; None: as always."""
    if size is None:
        yield
        return
    changed: list[tuple[Any, str, int]] = [
        *((module, "FRAGMENT_BYTES", size) for module in (parts, outbox, tracker, admission, calls, called)),
        (parts, "TAKEN_EVERY", size),
        (reassembler, "TAKEN_EVERY", size),
        (parts, "UNREAD_BYTES", UNREAD_PARTS * size),
        (reassembler, "MIN_PART_BYTES", size // 2),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changed]
    for module, name, value in changed:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
