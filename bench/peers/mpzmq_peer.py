"""mpzmq itself, through its public names, with all its promises on."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

from .base import AsyncPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from mpzmq import ComputerEngineWriter, Security

    from ..scenarios import Scenario
    from .base import Call, Open

CONNECT_AT_ONCE = 50


class MpzmqPeer(AsyncPeer):
    """A ``ContainerServer`` for each container, one ``ComputerEngineWorker`` for all."""

    name = "mpzmq"
    title = "mpzmq"
    unfair = (
        "It checks, tags, correlates and counts every request, keeps its deadline and watches the link, which plain"
        " pyzmq, the FD reader, zmq.asyncio and bare TCP do not."
    )

    server_security: Security | None = None
    client_security: Security | None = None

    def supports(self, scenario: Scenario) -> bool:
        """All rows."""
        return True

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """As many containers as the row has, in one process."""
        import mpzmq

        def echo(data: Any) -> Any:
            return data

        async def echo_async(data: Any) -> Any:
            return data

        async def items(count: int) -> AsyncIterator[bytes]:
            item = bytes(scenario.size)
            for _ in range(count):
                yield item

        async with contextlib.AsyncExitStack() as stack:
            servers = []
            endpoints = []
            for _ in range(scenario.containers):
                server = await stack.enter_async_context(mpzmq.ContainerServer(security=self.server_security))
                server.on_invoke(echo if scenario.handler == "def" else echo_async)
                if scenario.kind == "items":
                    server.function(items)
                endpoints.append(await server.bind("127.0.0.1:0"))
                servers.append(server)
            ready(endpoints)
            await asyncio.gather(*(server.serve_forever() for server in servers))

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """A call for each container."""
        async with self._containers(endpoints) as containers:
            yield [container.request for container in containers]

    @contextlib.asynccontextmanager
    async def streaming(self, endpoints: Sequence[str]) -> AsyncIterator[Open]:
        """A stream of the first container."""
        async with self._containers(endpoints) as containers:
            yield lambda count: containers[0].stream("items", count)

    @contextlib.asynccontextmanager
    async def _containers(self, endpoints: Sequence[str]) -> AsyncIterator[list[ComputerEngineWriter]]:
        """Handles of all containers; the counters have to add up at the end."""
        import mpzmq

        async with mpzmq.ComputerEngineWorker(security=self.client_security) as worker:
            containers: list[ComputerEngineWriter] = []
            for first in range(0, len(endpoints), CONNECT_AT_ONCE):
                some = endpoints[first : first + CONNECT_AT_ONCE]
                containers += await asyncio.gather(*(worker.connect(uuid.uuid4(), each, timeout=30) for each in some))
            yield containers
            counted = worker.service().statistics()
            if counted.issued != counted.replied:
                raise RuntimeError(f"the counters do not add up: {counted}")


PEER = MpzmqPeer()
