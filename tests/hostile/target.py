"""A container process under attack, and the healthy client that has to be answered meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from mpzmq import ComputerEngineWorker, ConnectError, HeartbeatPolicy, LinkState, ReconnectPolicy
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq import ComputerEngineWriter, Security
    from mpzmq.testing import ContainerProcess

__all__ = ["ROOT", "Target", "address_of"]

ROOT = Path(__file__).parents[2]
MEBIBYTE = 1 << 20
PATIENT = HeartbeatPolicy(interval=scaled(2.0), down_after=scaled(10.0))
"""The healthy client's: on a busy machine, slow is not dead."""

TIMEOUT = scaled(20.0)
"""Seconds for one request of the healthy client: it is about whether, not about when."""


def address_of(endpoint: str) -> tuple[str, int]:
    """Host and port of a TCP endpoint."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return host, int(port)


class Target:
    """One container process, with a healthy client on a connection of its own.

    Attributes:
        process: the container.
        allowed: the tags of requests that somebody has sent and that were well-formed.
        latencies: of the healthy client's requests, in seconds.
    """

    def __init__(self, process: ContainerProcess, security: Security | None = None) -> None:
        self.process = process
        self.allowed: set[bytes] = set()
        self.ran: list[bytes] = []
        self.latencies: list[float] = []
        self._worker = ComputerEngineWorker(
            security=security, heartbeat=PATIENT, reconnect=ReconnectPolicy(enabled=False, connect_timeout=scaled(10.0))
        )
        self._service = self._worker.service(timeout=TIMEOUT)
        self.client: ComputerEngineWriter
        self.before: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._worker)
            self.client = await self._connect()
            self.before = await self.facts()
            self.ran.clear()  # of those who were here before
            stack.pop_all()
        return self

    async def _connect(self) -> ComputerEngineWriter:
        """A connection may be cut that has got the descriptor of a stranger of the test before: engines dial again."""
        for _ in range(3):
            with contextlib.suppress(ConnectError):
                return await self._worker.connect(uuid4(), self.process.endpoint, name="healthy")
        return await self._worker.connect(uuid4(), self.process.endpoint, name="healthy")

    async def __aexit__(self, *exc_info: object) -> None:
        await self._worker.close()

    @property
    def endpoint(self) -> str:
        return self.process.endpoint

    @property
    def address(self) -> tuple[str, int]:
        return address_of(self.process.endpoint)

    async def healthy(self, data: Any = None) -> None:
        """One request of the healthy client, which gets its own reply."""
        asked = uuid4()
        self.allowed.add(asked.bytes)
        payload = {"id": asked, "data": data}
        began = time.perf_counter()
        answer = await self._service.request(asked, self.client.remote_id, payload)
        self.latencies.append(time.perf_counter() - began)
        assert answer == payload

    @contextlib.asynccontextmanager
    async def watched(self, pause: float = 0.01) -> AsyncIterator[None]:
        """The healthy client asks all the time; whatever goes wrong fails the body's end."""
        over = asyncio.Event()

        async def ask() -> None:
            while not over.is_set():
                await self.healthy()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), pause)

        task = asyncio.create_task(ask())
        try:
            yield
        finally:
            over.set()
            await task

    async def facts(self) -> dict[str, Any]:
        """What the container says of itself; who has run is added to ``ran``."""
        found: dict[str, Any] = await self.client.call("facts", timeout=TIMEOUT)
        ran = found.pop("ran")
        self.ran += [ran[place : place + 16] for place in range(0, len(ran), 16)]
        return found

    async def unharmed(self, *, grown: int) -> dict[str, Any]:
        """Holds the container against what has to be true after any attack.

        Args:
            grown: mebibytes by which its memory may have grown since the healthy client came.

        Returns:
            Its facts.
        """
        await self.healthy()
        facts = await self.facts()
        assert facts["pid"] == self.before["pid"]
        assert facts["adds_up"], facts
        assert facts["rss"] - self.before["rss"] <= grown * MEBIBYTE, (self.before["rss"], facts)
        strangers = [tag.hex() for tag in self.ran if tag not in self.allowed]
        assert not strangers, f"handlers ran for what is no request: {strangers[:5]}"
        assert self.client.state is LinkState.ALIVE
        assert self.client.statistics().reconnects == 0
        said = self.process.stderr
        assert "Traceback" not in said, said[-3000:]
        return facts
