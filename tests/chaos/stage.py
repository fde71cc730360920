"""One container process and one link to it, whose books are compared at the end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from mpzmq import ComputerEngineWorker
from mpzmq.testing import Proxy, ServedProcess

from .engine import Job, Watch, ask
from .history import EngineLog, check, check_counters, check_worker, read_container, read_engine
from .place import container_process

if TYPE_CHECKING:
    from pathlib import Path

    from mpzmq import ComputerEngineWriter, HeartbeatPolicy, ReconnectPolicy

    from .history import Request, Violation

__all__ = ["Stage"]


class Stage:
    """Use it as ``async with Stage(folder, heartbeat, reconnect) as stage:``, then look at ``stage.violations``.

    Attributes:
        process: of the container.
        proxy: on the way to it.
        worker: of the engine.
        container: the handle of the link.
        watch: what is told of it.
        requests: after the end, all that were made by :meth:`ask`.
        violations: after the end, broken promises.
    """

    container: ComputerEngineWriter
    watch: Watch
    proxy: Proxy

    def __init__(
        self,
        folder: Path,
        heartbeat: HeartbeatPolicy,
        reconnect: ReconnectPolicy,
        *,
        host: str = "127.0.0.1",
        name: str | None = None,
    ) -> None:
        self._folder = folder
        self._process = container_process(folder / "container", heartbeat, endpoint=f"tcp://{host}:0")
        self._name = name
        self._log = EngineLog(folder / "engine")
        self._stack = contextlib.AsyncExitStack()
        self._asking: set[asyncio.Task[Request]] = set()
        self.process = ServedProcess(self._process)
        self.worker = ComputerEngineWorker(reconnect=reconnect, heartbeat=heartbeat)
        self.requests: list[Request] = []
        self.violations: list[Violation] = []

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            stack.callback(self._log.close)
            stack.push_async_callback(self.process.close)
            await asyncio.to_thread(self._process.start)
            self.proxy = await stack.enter_async_context(Proxy(self.process.endpoint))
            await stack.enter_async_context(self.worker)
            address = self.proxy.endpoint
            if self._name is not None:
                # Past the proxy, by name.
                address = f"{self._name}:{self.process.endpoint.rpartition(':')[2]}"
            self.container = await self.worker.connect(uuid4(), address)
            self.watch = Watch(self.worker)
            stack.push_async_callback(self.watch.close)
            stack.push_async_callback(self.worker.close)
            stack.push_async_callback(self._asked)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: object, *exc_info: object) -> None:
        if kind is not None:  # nobody wants to wait for what a failed test has asked
            for task in self._asking:
                task.cancel()
        await self._stack.aclose()
        self.requests = read_engine(self._folder / "engine")
        history = read_container(self._folder / "container")
        self.violations += check(self.requests, history.runs)
        self.violations += check_counters(history)
        self.violations += check_worker(self.worker.service().statistics(), self.requests)

    def ask(
        self, job: Job | str = "x", *, timeout: float | None = 30.0, idempotent: bool = False
    ) -> asyncio.Task[Request]:
        """Begins a request; a text is echoed."""
        asked = Job("quick", (job,), job) if isinstance(job, str) else job
        task = asyncio.create_task(self._ask(asked, timeout, idempotent))
        self._asking.add(task)
        return task

    async def _ask(self, job: Job, timeout: float | None, idempotent: bool) -> Request:
        request = await ask(self._log, self.container, job, timeout=timeout, idempotent=idempotent)
        if request.outcome == "replied":
            self.watch.answered(self.container.remote_id)
        return request

    async def _asked(self) -> None:
        """All that was asked has ended."""
        await asyncio.gather(*self._asking, return_exceptions=True)
