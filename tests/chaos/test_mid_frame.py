"""A connection that is reset after every number of bytes that one exchange takes, in both directions."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from mpzmq import ComputerEngineWorker, ContainerServer, ReconnectPolicy, RequestContext, RequestError
from mpzmq.testing import Proxy
from tests.support.waiting import scaled

from .faults import SIDES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpzmq.testing.proxy import Side

# As quick as is allowed: nearly every one of the exchanges below takes a redial.
REDIAL = ReconnectPolicy(interval=0.01, connect_timeout=2.0, lost_after=None)
LANES = 16
SECONDS = scaled(10.0)


class Lane:
    """Runs one exchange after the other through a proxy of its own, each on a fresh link and session."""

    def __init__(self, worker: ComputerEngineWorker, proxy: Proxy) -> None:
        self._worker = worker
        self._proxy = proxy

    async def exchange(self, request_id: UUID, *, idempotent: bool = False) -> object:
        """Connects, asks and disconnects."""
        container = await self._worker.connect(uuid4(), self._proxy.endpoint, wait=False)
        try:
            return await container.call("double", 21, request_id=request_id, timeout=SECONDS, idempotent=idempotent)
        finally:
            await container.disconnect()

    async def cost(self) -> dict[Side, int]:
        """The bytes that one exchange takes in each direction when nothing disturbs it."""
        before = {side: self._proxy.bytes_to(side) for side in SIDES}
        assert await self.exchange(uuid4()) == 42
        return {side: self._proxy.bytes_to(side) - before[side] for side in SIDES}

    async def cut(self, side: Side, count: int, request_id: UUID, *, idempotent: bool) -> object:
        """One exchange whose connection is reset after so many bytes."""
        await self._proxy.reset()
        self._proxy.reset_after(count, to=side)
        return await self.exchange(request_id, idempotent=idempotent)


async def cut_everywhere(*, idempotent: bool, step: int = 1) -> None:
    """However far an exchange has come: the answer is the right one, from one run."""
    runs: Counter[UUID] = Counter()
    server = ContainerServer()

    @server.function
    def double(number: int, request: RequestContext) -> int:
        runs[request.request_id] += 1
        return 2 * number

    wrong: list[str] = []

    async def follow(lane: Lane, cuts: Iterator[tuple[Side, int]]) -> None:
        for side, count in cuts:
            request_id = uuid4()
            # The same instance, the same session: whatever was lost is sent again, and a reply that was lost is kept.
            try:
                ended: object = await lane.cut(side, count, request_id, idempotent=idempotent)
            except RequestError as error:
                ended = error
            if ended != 42 or runs[request_id] != 1:
                wrong.append(f"{count} bytes to the {side}: {ended!r}, {runs[request_id]} runs")

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        endpoint = await server.bind("tcp://127.0.0.1:0")
        worker = await stack.enter_async_context(ComputerEngineWorker(reconnect=REDIAL))
        proxies = [await stack.enter_async_context(Proxy(endpoint)) for _ in range(LANES)]
        lanes = [Lane(worker, proxy) for proxy in proxies]
        cost = await lanes[0].cost()
        # The lanes share the cuts.
        cuts = iter([(side, count) for side in SIDES for count in range(1, cost[side] + 1, step)])
        async with asyncio.TaskGroup() as following:
            for lane in lanes:
                following.create_task(follow(lane, cuts))
    assert min(cost.values()) > 200  # greeting, handshake and exchange were all counted
    assert sum(proxy.connections for proxy in proxies) > 1.5 * sum(cost.values()) / step  # most cuts have hit
    assert not wrong, "\n".join(wrong)


@pytest.mark.long
async def test_a_cut_after_every_byte() -> None:
    await cut_everywhere(idempotent=False)


async def test_a_cut_after_every_third_byte_of_an_idempotent_request() -> None:
    await cut_everywhere(idempotent=True, step=3)
