"""What every container answers without a handler of the user's: its state, and what it offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..errors import Refused
from ..message import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol.handshake import Sessions
    from .registry import Registry

__all__ = ["describe", "get_state", "set_state"]


def get_state() -> None:
    """Every reply carries the status: there is nothing to add."""


def set_state(registry: Registry, sessions: Sessions) -> Callable[[str], Any]:
    """The handler of SETSTATE."""

    async def set_status(status: str) -> None:
        try:
            wanted = Status(status)
        except ValueError:  # of its own making: a traceback in the log for it, with all that was sent, helps nobody
            raise Refused("there is no such status: it is 'RUNNING' or 'STOP'") from None
        if registry.state_change is not None:
            outcome = registry.state_change(wanted)
            if outcome is not None and hasattr(outcome, "__await__"):
                await outcome
        sessions.status = wanted

    return set_status


def describe(registry: Registry, sessions: Sessions, name: str) -> Callable[[], dict[str, Any]]:
    """The handler of describe."""

    def described() -> dict[str, Any]:
        return {
            "name": name,
            "instance": str(sessions.instance),
            "version": __version__,
            "status": str(sessions.status),
            "invokes": registry.invoke is not None,
            "functions": [
                [function.name, str(function.signature), function.doc] for function in registry.functions.values()
            ],
        }

    return described
