"""Which requests are at work: who asks is told of those that take their time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .running import Running

__all__ = ["mark_started"]


def mark_started(all_running: Iterable[Running], dirty: dict[Any, None]) -> bool:
    """Tells who asks which requests are at work, and were the last time this was called, too.

    Args:
        all_running: the requests that have not ended.
        dirty: takes those that are to be told something.

    Returns:
        Whether there are others.
    """
    untold = False
    for running in all_running:
        if running.told:
            continue
        if running.started and running.told is False:
            running.told = True
            running.engine.tell_started(running.tag)
            dirty[running.engine] = None
        else:
            running.told = False if running.started else None
            untold = True
    return untold
