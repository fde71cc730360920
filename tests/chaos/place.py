"""One container process, and the ways to it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from mpzmq.testing import ContainerProcess, Proxy, ServedProcess

if TYPE_CHECKING:
    from mpzmq import ComputerEngineWorker, ComputerEngineWriter, HeartbeatPolicy

__all__ = ["ROOT", "SPEC", "Place", "container_process"]

ROOT = Path(__file__).parents[2]
SPEC = "tests.chaos.container:server"


def container_process(
    history: Path, heartbeat: HeartbeatPolicy, *, endpoint: str = "tcp://127.0.0.1:0", drain_timeout: float = 8.0
) -> ContainerProcess:
    """A process of ``container.py``, not started yet."""
    env = {"CHAOS_HISTORY": str(history), "CHAOS_HEARTBEAT": f"{heartbeat.interval},{heartbeat.down_after}"}
    return ContainerProcess(
        SPEC, folder=ROOT, env=env, endpoint=endpoint, drain_timeout=drain_timeout, name=history.name
    )


class Place:
    """A container process with three links to it, each a session of its own.

    Attributes:
        process: of the container; a restart keeps its port.
        history: the file to which all its instances write.
        proxy: the bad network on the way of ``proxied``.
        direct: the link that only a fault of the process can break.
        proxied: the link through the proxy.
        busy: held while a fault is at work: two at once would hide each other.
    """

    direct: ComputerEngineWriter
    proxied: ComputerEngineWriter

    def __init__(self, worker: ComputerEngineWorker, history: Path, heartbeat: HeartbeatPolicy) -> None:
        self.worker = worker
        self.history = history
        self._process = container_process(history, heartbeat, drain_timeout=3.0)
        self.process = ServedProcess(self._process)
        self._stack = contextlib.AsyncExitStack()
        self.busy = asyncio.Lock()

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            stack.push_async_callback(self.process.close)
            await asyncio.to_thread(self._process.start)
            self.proxy = await stack.enter_async_context(Proxy(self.process.endpoint))
            name = self.history.name
            self.direct = await self.worker.connect(uuid4(), self.process.endpoint, name=f"{name} direct")
            self.proxied = await self.worker.connect(uuid4(), self.proxy.endpoint, name=f"{name} proxied")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()
