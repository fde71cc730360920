"""Plain handlers that hold the event loop, told to whoever reads the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..common.logs import Log

if TYPE_CHECKING:
    from .invocation import Invocation

__all__ = ["SLOW_HANDLER", "SlowHandlers"]

log = Log(__name__)

SLOW_HANDLER: Final = 0.1
"""Seconds for which a plain handler may hold the event loop before it is logged."""


class SlowHandlers:
    """Logs each of them once."""

    def __init__(self) -> None:
        self._told: set[str | None] = set()

    def held(self, running: Invocation, seconds: float) -> None:
        """The handler of a request has held the event loop for longer than it should."""
        function = running.handler
        if function.name not in self._told:
            self._told.add(function.name)
            log.warning(
                "handler %r held the event loop for %.0f ms: register it with thread=True, or make it async",
                function.name or "on_invoke",
                seconds * 1000,
                about=running,
            )
