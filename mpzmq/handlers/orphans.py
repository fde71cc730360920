"""Handlers whose engines are away: when they are cancelled for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..protocol.requester.pending import DeadlineSweep
from .state_changes import BEHIND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .invocation import Invocation
    from .registry import Registry

__all__ = ["Orphans"]

SWEEP_INTERVAL = 0.05
"""Seconds between two looks at everything that runs, at least: a thousand engines may be lost within a second."""


class Orphans:
    """What is known of the time at which handlers are cancelled because their engines are away.

    Args:
        registry: the handlers.
        away: the engines that are away, each with the time at which that became known.

    Attributes:
        deadlines: when to look next.
    """

    def __init__(self, registry: Registry, away: Mapping[Any, float]) -> None:
        self.deadlines = DeadlineSweep(SWEEP_INTERVAL)
        self._registry = registry
        self._away = away

    def on_loss(self, now: float) -> None:
        """An engine was lost."""
        patience = [function.orphan_after for function in self._registry.functions.values()]
        shortest = min((after for after in (*patience, self._registry.orphan_after) if after is not None), default=None)
        if shortest is not None:
            self.deadlines.add(now + shortest)

    def due(self, running: Invocation) -> float | None:
        """When a handler is to be cancelled; None: it is not, or it was.

        One in a thread may have been cancelled before, and its thread has to be given up all the same.
        """
        handler = running.handler
        after = self._registry.orphan_after if handler is BEHIND else handler.orphan_after
        since = self._away.get(running.engine)
        if after is None or since is None:
            return None
        at_work_in_thread = handler.thread and running.started and running.due is None
        return since + after if running.cancel_reason is None or at_work_in_thread else None
