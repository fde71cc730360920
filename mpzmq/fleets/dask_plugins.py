"""What a fleet has inside of Dask: a plugin of the scheduler that places the containers, and one of each worker."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from distributed.comm import get_address_host
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin
from distributed.protocol.pickle import dumps

from ..common.logs import Log
from ..common.text import text_of, type_name
from .container_thread import END_TIMEOUT, ContainerThread, NotServing
from .placement import Placement

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["FleetPlugin"]

log = Log(__name__)

ABANDONED_AFTER = 10.0
"""Seconds for which the client may be gone: one that has only lost its connection comes again sooner."""

WATCH_TIMEOUT = 30.0
"""Seconds after which a watcher is answered though nothing has changed."""


class ContainerPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed is not looked into by mypy
    """Starts a container in a thread of a Dask worker, and tells the scheduler where it serves.

    Args:
        fleet: the name of the fleet, and of its handler in the scheduler.
        source: ``"module:server"``.
        engine_key: the public key of the fleet's engine.
        env: variables of the environment for the container.
    """

    def __init__(self, fleet: str, source: str, engine_key: str, env: dict[str, str]) -> None:
        self._fleet = fleet
        self._source = source
        self._engine_key = engine_key
        self._env = env
        self._container: ContainerThread | None = None

    async def setup(self, worker: Any) -> None:
        """Called by Dask in a worker that is to have a container."""
        self._container = ContainerThread(
            self._source,
            get_address_host(worker.contact_address),
            owner=self._fleet,
            engine_key=self._engine_key,
            env=self._env,
            on_end=lambda why: worker.loop.add_callback(self._tell, worker, failed=why),
        )
        try:
            served = await self._container.start()
        except NotServing as error:
            await self._tell(worker, failed=str(error))
        else:
            await self._tell(worker, served=asdict(served) | {"name": str(worker.name)})

    async def teardown(self, worker: Any) -> None:
        """Called by Dask when the worker ends, or is to lose its container."""
        if self._container is not None:
            await self._container.stop()

    async def _tell(self, worker: Any, **facts: Any) -> None:
        try:
            await getattr(worker.scheduler, self._fleet)(what="report", worker=worker.contact_address, **facts)
        except (OSError, ValueError) as error:  # the fleet or the scheduler has gone: both end the container
            log.warning("%s cannot be told of %s: %s", self._fleet, self._source, text_of(error))


class FleetPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Knows which workers have a container of the fleet, and has others take the place of those that go.

    It lives in the scheduler: that hears first which workers come and go, and is still there when the fleet's engine is
    not. Its handler, of the fleet's name, is what the client and the workers talk to.

    Args:
        name: of the fleet.
        client: the id of the client. The fleet ends with it.
        wanted: how many containers; None: one in each worker.
        source: ``"module:server"``.
        engine_key: the public key of the fleet's engine.
        env: variables of the environment for the containers.
    """

    idempotent = True  # one that is there already stays

    def __init__(
        self, name: str, client: str, wanted: int | None, source: str, engine_key: str, env: dict[str, str]
    ) -> None:
        self.name = name
        self.abandoned_after = ABANDONED_AFTER
        self._client = client
        # In the scheduler's successor another plugin takes the place of this one: no version is to be one of both.
        self._placement = Placement(wanted, version=secrets.randbits(48))
        self._container = dumps(ContainerPlugin(name, source, engine_key, env))
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed: asyncio.Event | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._scheduler: Any = None

    # Called by the scheduler

    async def start(self, scheduler: Any) -> None:
        """Takes the workers that are there."""
        self._scheduler = scheduler
        self._changed = asyncio.Event()
        scheduler.handlers[self.name] = self.handle
        for worker in scheduler.workers:
            self._placement.on_worker(worker)
        self._place()

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """A worker has come."""
        self._placement.on_worker(worker)
        self._place()

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """A worker has died, or was retired."""
        self._placement.on_loss(worker)
        self._place()

    def remove_client(self, scheduler: Any, client: str) -> None:
        """A client has gone, or has lost its connection."""
        if client == self._client:
            self._spawn(self._end_without_client())

    def valid_workers_downscaling(self, scheduler: Any, workers: list[Any]) -> list[Any]:
        """Those that a cluster which becomes smaller may close: none that was chosen, though it has no tasks."""
        if self._placement.wanted is None:
            return workers
        return [worker for worker in workers if not self._placement.is_carrying(worker.address)]

    async def close(self) -> None:
        """The scheduler ends."""
        self._forget()

    # Called by the client and the workers

    async def handle(self, what: str, **details: Any) -> dict[str, Any]:
        """Answers the client and the workers."""
        match what:
            case "watch":
                await self._wait(details["since"])
            case "scale":
                self._placement.want(details["wanted"])
                self._place()
            case "end":
                await self._end()
            case "report":
                self._on_report(**details)
        return self._placement.told()

    def _on_report(self, worker: str, served: dict[str, Any] | None = None, failed: str = "") -> None:
        if served is not None:
            self._placement.on_serving(worker, served | {"worker": worker})
        else:
            self._fail(worker, failed)
            self._spawn(self._clear(worker))
        self._place()

    async def _wait(self, since: int) -> None:
        try:
            async with asyncio.timeout(WATCH_TIMEOUT):
                while self._placement.version == since and self._changed is not None:
                    await self._changed.wait()
        except TimeoutError:
            pass

    # Inside

    def _place(self) -> None:
        """Has done what is to be done, and tells whoever watches."""
        start, end = self._placement.decide(time.monotonic())
        for worker in start:
            self._spawn(self._start_on(worker))
        for worker in end:
            self._spawn(self._end_on(worker))
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if (when := self._placement.next_retry()) is not None:
            delay = max(0.0, when - time.monotonic())
            self._retry = asyncio.get_running_loop().call_later(delay, self._place)
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = asyncio.Event()

    def _fail(self, worker: str, why: str) -> None:
        self._placement.on_failure(worker, why, time.monotonic())

    async def _start_on(self, worker: str) -> None:
        error = await self._order(worker, op="plugin-add", plugin=self._container, name=self.name)
        if error:  # the plugin itself could not be made there: all else it tells itself
            self._fail(worker, error)
            self._place()

    async def _end_on(self, worker: str) -> None:
        error = await self._order(worker, op="plugin-remove", name=self.name)
        if error:
            log.warning("%s: the container of %s was not ended: %s", self.name, worker, error)
        self._placement.on_end(worker)
        self._place()

    async def _clear(self, worker: str) -> None:
        """A container that has failed leaves nothing behind."""
        await self._order(worker, op="plugin-remove", name=self.name)

    async def _order(self, worker: str, **message: Any) -> str:
        """Has a worker do something; returns what went wrong there."""
        answers = await self._scheduler.broadcast(msg=message, workers=[worker], on_error="return")
        answer = answers[worker]
        if isinstance(answer, BaseException):
            return f"{type_name(answer)}: {text_of(answer)}"
        return "" if answer["status"] == "OK" else str(answer.get("exception_text", answer))

    async def _end_without_client(self) -> None:
        await asyncio.sleep(self.abandoned_after)
        if self._client not in self._scheduler.clients:
            log.info("%s: its client has gone, and its containers are ended", self.name)
            await self._end()

    async def _end(self) -> None:
        self._placement.want(0)
        self._place()
        if tasks := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=END_TIMEOUT + 1.0)  # a worker may not answer
        self._forget()

    def _forget(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        self._scheduler.handlers.pop(self.name, None)
        if self.name in self._scheduler.plugins:
            self._scheduler.remove_plugin(self.name)
        self._tell_watchers()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
