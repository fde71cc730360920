"""The container that is attacked: ``tests.hostile.container:server``. It notes every run of a handler."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from typing import TYPE_CHECKING, Any

from mpzmq import ContainerServer, HeartbeatPolicy, Limits, Security, current_request
from mpzmq.keys import KeyPair
from mpzmq.protocol.wire.kinds import STREAMED
from tests.chaos.memory import resident_bytes
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

__all__ = ["HEALTHY", "SERVER", "SMALL", "build"]

SERVER = KeyPair(public="rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", secret="JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6")
HEALTHY = KeyPair(public="Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", secret="D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs")
"""Known to everybody: they are those of zmq_curve(7)."""

SMALL = Limits(message_bytes=1 << 20, queued_bytes=1 << 20, in_flight=100, reply_entries=100, reply_bytes=1 << 20)
"""Small enough that what one attacker may take stays within what the tests allow."""


def build(limits: Limits, security: Security | None = None) -> ContainerServer:
    """A server that tells what it did, and what that cost."""
    server = ContainerServer(
        name="target",
        heartbeat=HeartbeatPolicy(interval=scaled(0.5), down_after=scaled(2.0)),
        limits=limits,
        security=security,
    )
    ran: list[UUID] = []

    def note_run() -> None:
        request = current_request()
        assert request is not None
        ran.append(request.request_id)

    @server.on_invoke
    async def echo(data: Any) -> Any:
        note_run()
        return data

    @server.function
    async def note(data: Any) -> Any:
        note_run()
        return data

    @server.function
    def plain(data: Any) -> None:
        note_run()

    @server.function
    async def hold(seconds: float) -> str:
        note_run()
        await asyncio.sleep(seconds)
        return "held"

    @server.function
    async def climb(number: int, size: int = 0) -> AsyncIterator[Any]:
        note_run()
        for index in range(number):
            yield (index, bytes(size)) if size else index

    @server.function
    async def add_up(items: AsyncIterator[Any]) -> int:
        note_run()
        return sum([item if isinstance(item, int) else 1 async for item in items])

    @server.function
    async def hold_all(items: AsyncIterator[Any]) -> None:
        """Reads one item, and no other as long as the connection stands: all others wait."""
        note_run()
        held = [await anext(items)]
        while not items._flow.failure:  # type: ignore[attr-defined]  # noqa: ASYNC110  (it sets no event)
            await asyncio.sleep(0.01)
        held += [item async for item in items]

    @server.function
    async def echo_all(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        note_run()
        async for item in items:
            yield item

    @server.function
    def facts() -> dict[str, Any]:
        """The counters, the memory, and who has run since this was last asked."""
        now = server.statistics()
        found, ran[:] = list(ran), []
        assert server._driver is not None
        streams = [running for running in server._driver.dispatcher._running.values() if running.op in STREAMED]
        unit = 1 if sys.platform == "darwin" else 1024
        return {
            "ran": b"".join(request_id.bytes for request_id in found),
            "adds_up": now.received == now.replied + now.failed + now.refused + now.cancelled + now.in_flight,
            "received": now.received,
            "failed": now.failed,
            "refused": now.refused,
            "in_flight": now.in_flight - 1 - len(streams),  # without this one
            # Those of engines that are away end at any time: an earlier test's are not to be counted in a later one.
            "streams": sum(running.connected for running in streams),
            "sessions": now.sessions,
            "ignored": now.ignored,
            "rss": resident_bytes(),
            "peak": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "pid": os.getpid(),
        }

    return server


server = build(Limits())
small = build(SMALL)
keyed = build(SMALL, Security.server(SERVER, allow={"healthy": HEALTHY.public}))
