"""callosum over its ZeroMQ transport, with MessagePack, as its examples have it."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import msgpack

from .base import AsyncPeer, serve_until_killed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..scenarios import Scenario
    from .base import Call

TIMEOUT = 30.0


def _peer(concurrency: int, **where: Any) -> Any:
    from callosum.lower.zeromq import ZeroMQRPCTransport
    from callosum.rpc import Peer

    return Peer(
        transport=ZeroMQRPCTransport,
        serializer=msgpack.packb,
        deserializer=msgpack.unpackb,
        compress=False,
        max_body_size=64 * 1024 * 1024,
        max_concurrency=concurrency,
        invoke_timeout=TIMEOUT,
        **where,
    )


class Callosum(AsyncPeer):
    """``Peer.handle_function`` and ``Peer.invoke``."""

    name = "callosum"
    title = "callosum"
    unfair = "Compression is off; its concurrency limit is raised to what the row asks for."
    needs = ("callosum",)

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo."""
        from callosum.lower.zeromq import ZeroMQAddress

        with socket.create_server(("127.0.0.1", 0)) as free:
            endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"

        async def echo(request: Any) -> Any:
            return request.body

        peer = _peer(scenario.in_flight + 100, bind=ZeroMQAddress(endpoint))
        peer.handle_function("echo", echo)
        async with peer:
            ready([endpoint])
            await serve_until_killed()

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """One connection."""
        from callosum.lower.zeromq import ZeroMQAddress

        async with _peer(2000, connect=ZeroMQAddress(endpoints[0])) as peer:

            async def call(payload: Any) -> Any:
                return await peer.invoke("echo", payload)

            yield [call]

    def supports(self, scenario: Scenario) -> bool:
        """All but memoryviews, which MessagePack turns into bytes."""
        return scenario.containers == 1 and scenario.kind != "view"


PEER = Callosum()
