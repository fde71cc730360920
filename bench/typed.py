"""What it costs that a function is typed: its requests are admitted and run once typed and once not, in turns.

As in ``layers``: batches of 256, in one process, no sockets.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpzmq.handlers.registry import Function, Registry

from .layers import BATCH, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["typed_costs"]


@dataclass
class Order:
    """Eight fields of several kinds."""

    number: int
    count: int
    name: str
    street: str
    price: float
    paid: bool
    parts: list[int]
    note: str | None


def two_ints(a: int, b: int) -> None:
    """Takes two numbers."""


def one_order(order: Order) -> None:
    """Takes a dataclass."""


ORDER = {
    "number": 1, "count": 2, "name": "a name", "street": "a street", "price": 1.5, "paid": True, "parts": [1, 2, 3],
    "note": None,
}  # fmt: skip


def typed_costs(loop: str, rounds: int) -> dict[str, float]:
    """Microseconds a call more than where nothing is typed, and those of ``msgspec.convert`` alone, as medians."""
    from .peers.base import loop_factory

    seen: dict[str, list[float]] = {}
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        for _ in range(rounds):
            for what, seconds in runner.run(_one_round()).items():
                seen.setdefault(what, []).append(seconds / BATCH * 1e6)
    return {what: statistics.median(times) for what, times in seen.items()}


async def _one_round() -> dict[str, float]:
    import msgspec

    began = time.perf_counter()
    for _ in range(BATCH):
        msgspec.convert(ORDER, Order)
    bare = time.perf_counter() - began
    return {
        "typed: two ints": await _more(two_ints, (1, 2)),
        "typed: a dataclass of eight fields": await _more(one_order, (ORDER,)),
        "  of which is bare msgspec.convert": bare,
    }


async def _more(handler: Callable[..., None], args: tuple[Any, ...]) -> float:
    before = await _seconds(handler, args, typed=False)
    typed = await _seconds(handler, args, typed=True)
    after = await _seconds(handler, args, typed=False)
    return typed - (before + after) / 2  # whichever came first would find colder caches


async def _seconds(handler: Callable[..., None], args: tuple[Any, ...], *, typed: bool) -> float:
    registry = Registry()
    if typed:
        registry.use_types()
    registry.add(Function("f", handler))
    return await seconds_of(registry, args)
