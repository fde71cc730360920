"""What it costs that a function is typed: its requests are admitted and run once typed and once not, in turns.

As in ``layers``: batches of 256, in one process, no sockets.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpzmq.config import Limits
from mpzmq.handlers.registry import Function, Registry
from mpzmq.protocol.requester.request import encode_request, remaining_ms
from mpzmq.protocol.requester.request_ids import request_tags
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind, Op
from mpzmq.protocol.wire.messages import MessageDecoder

from .layers import BATCH, DEADLINE, NOW, ROUNDS, Container

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


def typed_costs(loop: str) -> dict[str, float]:
    """Microseconds a call more than where nothing is typed, and those of ``msgspec.convert`` alone, as medians."""
    from .peers.base import loop_factory

    seen: dict[str, list[float]] = {}
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        for _ in range(ROUNDS):
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
    limits, registry, tags = Limits(), Registry(), request_tags()
    if typed:
        registry.use_types()
    registry.add(Function("f", handler))
    encoder, decoder = Encoder(limits), MessageDecoder(limits, answered=Kind.REQUEST)
    container = Container(registry, encoder, limits)
    remaining = remaining_ms(DEADLINE, NOW)
    bodies = [encode_request(encoder, n, remaining, 0, Op.CALL, "f", args, None, None) for n in range(1, BATCH + 1)]
    frames = [b"".join(tags(n) for n in range(1, BATCH + 1)), b"".join(bodies)]
    batch = container.batch_of(decoder.decode(frames))
    began = time.perf_counter()
    container.dispatcher.start(batch, asyncio.get_running_loop().time())
    seconds = time.perf_counter() - began
    assert container.dispatcher.replied == BATCH
    await container.dispatcher.close()
    return seconds
