"""grpc.aio with a generic handler and MessagePack, so that both sides carry the same values."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgpack

from .base import AsyncPeer, serve_until_killed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..scenarios import Scenario
    from .base import Call

OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class GrpcAio(AsyncPeer):
    """One unary method."""

    name = "grpc"
    title = "grpc.aio"
    unfair = "HTTP/2 with its headers and flow control; it has deadlines, errors, TLS and many languages as well."
    needs = ("grpc",)

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo."""
        import grpc.aio

        async def echo(request: Any, context: Any) -> Any:
            return request

        handler = grpc.unary_unary_rpc_method_handler(echo, msgpack.unpackb, msgpack.packb)
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", {"echo": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        ready([f"127.0.0.1:{port}"])
        await serve_until_killed()

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """One channel."""
        import grpc.aio

        async with grpc.aio.insecure_channel(endpoints[0], options=OPTIONS) as channel:
            yield [channel.unary_unary("/bench/echo", msgpack.packb, msgpack.unpackb)]

    def supports(self, scenario: Scenario) -> bool:
        """All but memoryviews, which MessagePack turns into bytes."""
        return scenario.containers == 1 and scenario.kind != "view"


PEER = GrpcAio()
