"""Typed functions: dataclasses, enums, decimals and dates go over the wire, and what does not fit never runs.

Run it: ``python examples/typed_shop.py`` (extra ``typed``). It plays both sides in one process.
"""

import asyncio
import datetime
import enum
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Protocol

import msgspec

from mpzmq import ComputerEngineWorker, ContainerServer, InvalidArguments


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Item:
    name: str
    price: Decimal
    size: Size = Size.SMALL


@dataclass
class Order:
    items: list[Item]
    due: datetime.date
    notes: dict[str, str] = field(default_factory=dict)


@dataclass
class Receipt:
    total: Decimal
    ready: datetime.date


class Shop(Protocol):
    """What clients see: this is all that they share with the container."""

    async def order(self, order: Order, *, rush: bool = False) -> Receipt: ...
    async def stock(self, items: AsyncIterable[Item] | Iterable[Item]) -> int: ...
    def search(self, text: str, limit: Annotated[int, msgspec.Meta(ge=1)] = 10) -> AsyncIterator[Item]: ...


class Counter:
    """What stands behind it."""

    def __init__(self) -> None:
        self._shelf: list[Item] = []

    def order(self, order: Order, *, rush: bool = False) -> Receipt:
        total = sum((item.price for item in order.items), Decimal(0))
        ready = order.due - datetime.timedelta(days=1) if rush else order.due
        return Receipt(total * 2 if rush else total, ready)

    async def stock(self, items: AsyncIterator[Item]) -> int:
        self._shelf += [item async for item in items]
        return len(self._shelf)

    async def search(self, text: str, limit: Annotated[int, msgspec.Meta(ge=1)] = 10) -> AsyncIterator[Item]:
        for item in [item for item in self._shelf if text in item.name][:limit]:
            yield item


server = ContainerServer(name="shop", typed=True)
server.functions(Counter(), interface=Shop)


async def main() -> None:
    async with server, ComputerEngineWorker(typed=True) as worker:
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"), name="shop")
        await container.check(Shop)  # a TypeError says where the container offers something else
        shop = container.of(Shop)

        pen, desk = Item("pen", Decimal("1.50")), Item("desk", Decimal("99.90"), Size.LARGE)
        print("on the shelf:", await shop.stock([pen, desk]))
        print("found:", [item async for item in shop.search("e", limit=1)])
        order = Order([pen, desk], datetime.date(2026, 3, 1))
        print("receipt:", await shop.order(order, rush=True))

        # Whoever does not use the types is told what does not fit, by its path.
        try:
            await container.call("order", {"items": [{"name": "pen", "price": "much"}], "due": "2026-03-01"})
        except InvalidArguments as error:
            print(f"executed: {error.executed};", str(error).split(": ", 1)[1].split(";")[0])


if __name__ == "__main__":
    asyncio.run(main())
