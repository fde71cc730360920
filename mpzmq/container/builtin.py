"""What every container answers without a handler of the user's: its state, what it offers, and its counters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..errors import Refused
from ..handlers.registry import Function
from ..models import Status
from ..protocol.wire.kinds import Op
from ..statistics import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..context import RequestContext
    from ..handlers.registry import Registry
    from ..protocol.session.table import SessionTable
    from ..statistics import ServerStatistics

__all__ = ["builtin"]


def builtin(
    registry: Registry, sessions: SessionTable, name: str, statistics: Callable[[], ServerStatistics]
) -> dict[int, Function]:
    """What a container answers by itself, by operation.

    Args:
        registry: its handlers.
        sessions: its engines.
        name: its name, for its description.
        statistics: its counters.
    """
    return {
        Op.GETSTATE: Function(None, get_state),
        Op.SETSTATE: Function(None, set_state(registry, sessions), orphan_after=registry.orphan_after),
        Op.DESCRIBE: Function(None, describe(registry, sessions, name)),
        Op.STATISTICS: Function(None, tell_statistics(statistics)),
    }


def get_state() -> None:
    """Every reply carries the status: there is nothing to add."""


def set_state(registry: Registry, sessions: SessionTable) -> Callable[[str, RequestContext], Any]:
    """The handler of SETSTATE."""

    async def set_status(status: str, context: RequestContext) -> None:
        try:
            wanted = Status(status)
        except ValueError:  # of its own making: a traceback in the log for it, with all that was sent, helps nobody
            raise Refused("there is no such status: it is 'RUNNING' or 'STOP'") from None
        if registry.state_change is not None:
            outcome = registry.state_change(wanted)
            if hasattr(type(outcome), "__await__"):
                await outcome
        if context.cancelled:  # what stands behind it was judged without it
            raise asyncio.CancelledError
        sessions.status = wanted

    return set_status


def describe(registry: Registry, sessions: SessionTable, name: str) -> Callable[[str], dict[str, Any]]:
    """The handler of describe."""

    def described(also: str = "") -> dict[str, Any]:
        schema = {"schema": registry.schema()} if also == "schema" else {}
        return {
            "name": name,
            "instance": str(sessions.instance),
            "version": __version__,
            "status": str(sessions.status),
            "invokes": registry.invoke is not None,
            "functions": [[function.name, function.shown, function.doc] for function in registry.functions.values()],
            **schema,
        }

    return described


def tell_statistics(statistics: Callable[[], ServerStatistics]) -> Callable[[object], dict[str, Any]]:
    """The handler of STATISTICS."""

    def told(options: object) -> dict[str, Any]:
        return plain(statistics())

    return told
