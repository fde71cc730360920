"""What middleware costs: the same calls through one and through several, in turns; as in ``layers``, no sockets."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING, Any

from mpzmq.handlers.registry import Function, Registry

from .layers import BATCH, seconds_of

if TYPE_CHECKING:
    from mpzmq import CallDetails, Proceed

__all__ = ["middleware_costs"]

MANY = 5
"""Compared with one: the first also brings the task in which the request runs."""


def nothing() -> None:
    """Takes no time."""


async def through(call: CallDetails, proceed: Proceed) -> Any:
    """Goes on."""
    return await proceed(call)


def middleware_costs(loop: str, rounds: int) -> dict[str, float]:
    """Microseconds a call, as medians: what the first middleware adds, and what each further one does."""
    from .peers.base import loop_factory

    first, further = [], []
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        for _ in range(rounds):
            none, one, many = (runner.run(_seconds(count)) / BATCH * 1e6 for count in (0, 1, MANY))
            first.append(one - none)
            further.append((many - one) / (MANY - 1))
    return {
        "middleware: the first, and a task": statistics.median(first),
        "middleware: each further one": statistics.median(further),
    }


async def _seconds(count: int) -> float:
    registry = Registry()
    for _ in range(count):
        registry.add_middleware(through)
    registry.add(Function("f", nothing))
    return await seconds_of(registry, ())
