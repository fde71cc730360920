"""A simulated world: workers and containers on a network, and what a schedule does to them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from mpzmq.testing.simnet.network import MemoryNetwork, VirtualClockLoop

from .callers import Engine
from .containers import Process, endpoint
from .crashes import settled_at
from .history import History, Incarnation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from .schedule import Fault, Schedule

__all__ = ["World"]

SETTLE = 2.0
"""Seconds in which, after everything was closed, the last messages arrive and the last timers fire."""

LONG = 10.0
"""Seconds of ``orphan_after`` for which nobody waits."""

SAMPLE = 0.25
"""Seconds between two looks at the counters, while there is traffic."""


class World:
    """Runs one schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self.history = History()
        self._schedule = schedule
        self._loop = cast("VirtualClockLoop", asyncio.get_running_loop())
        self._network = MemoryNetwork(
            schedule.seed, latency=schedule.latency, capacity=schedule.capacity, jitter=schedule.jitter
        )
        self._engines = [Engine(self._network, schedule, self.history, n) for n in range(schedule.workers)]
        self._processes: list[Process | None] = [None] * schedule.containers
        self._hosts = [engine.host for engine in self._engines]
        """All processes there were: one may end while it is blocked."""
        self._changing: set[int] = set()
        """Containers that end just now, or whose successors have not begun."""
        self._chores: dict[asyncio.Task[None], None] = {}
        """Ends and restarts that are under way."""
        self._ends: list[asyncio.TimerHandle] = []
        """When faults begin and end: with the traffic, at the latest."""

    async def run(self) -> None:
        """From the first bind to the last close."""
        history = self.history
        for container in range(self._schedule.containers):
            await self._start(container)
        for engine in self._engines:
            await engine.open()
        for ask in self._schedule.asks:
            self._engines[ask.worker].plan(ask)
        for fault in self._schedule.faults:
            self._later(fault.at, self._apply, fault)
        await self._sleep_until(self._loop.time() + self._schedule.length)
        await self._heal()
        history.calm_at = self._loop.time()
        await self._calm(history.calm_at + self._schedule.patience)
        history.stalled = [issue for issue in history.issues if issue.ended is None]
        await self._settle_crashes()
        history.closed_at = self._loop.time()
        await self._close()

    async def _sleep_until(self, when: float) -> None:
        while self._loop.time() < when:
            await asyncio.sleep(min(SAMPLE, when - self._loop.time()))
            self._sample()

    async def _calm(self, until: float) -> None:
        """Until all callers are content, or have waited in vain."""
        while self._loop.time() < until:
            if not any(engine.tasks or engine.planned for engine in self._engines):
                return
            for engine in self._engines:
                # Who asks a link that has given up is told so at once: nothing to wait for.
                for container in range(self._schedule.containers):
                    if engine.has_failed(container):
                        await engine.connect(container)
            await asyncio.sleep(SAMPLE)
            self._sample()

    async def _settle_crashes(self) -> None:
        """Until nothing runs any more for engines that have crashed, unless that takes very long."""
        after = self._schedule.orphan_after
        if after is None or after < LONG:
            for at, fault in self.history.applied:
                if fault.kind == "crash":
                    await self._sleep_until(at - fault.at + settled_at(self._schedule, self.history))

    def _sample(self) -> None:
        for engine in self._engines:
            engine.sample()
        for process in self._processes:
            if process is not None:
                seen = process.server.statistics()
                ends = seen.replied + seen.failed + seen.refused + seen.cancelled + seen.in_flight
                what = f"c{process.incarnation.container}.{process.incarnation.number} received"
                self.history.sums.append((what, self._loop.time(), seen.received, ends))
                self.history.waiting.append((what, self._loop.time(), process.waiting(), seen.waiting_bytes))

    async def _heal(self) -> None:
        for timer in self._ends:
            timer.cancel()
        conditions = self._network.conditions
        conditions.doomed.clear()
        conditions.jitter = self._schedule.jitter
        for host in self._hosts:
            host.thaw()
        for container in range(self._schedule.containers):
            where = endpoint(container)
            self._network.heal(where)
            self._network.unchoke(where, inward=True)
            self._network.unchoke(where, inward=False)
        while self._chores:
            await asyncio.wait(self._chores)
        for container in range(self._schedule.containers):
            if self._processes[container] is None:
                await self._start(container)
        for engine in self._engines:
            await engine.open_again()

    async def _close(self) -> None:
        for engine in self._engines:
            engine.is_ending = True
        containers_first = self._schedule.seed % 2 == 0
        if containers_first:
            await self._close_containers()
        for engine in self._engines:
            await engine.close(self._schedule.close_timeout)
        if not containers_first:
            await self._close_containers()
        for engine in self._engines:
            while engine.tasks:
                # Who waited for a link's room hears of its end one pass later.
                await asyncio.wait(engine.tasks, timeout=SETTLE)
                for task in engine.tasks:
                    task.cancel()
        await asyncio.sleep(SETTLE + self._schedule.jitter)
        # Without what was timed, by a clock that is none of the simulation's.
        totals = [engine.worker.service().statistics() for engine in self._engines]
        self.history.totals = [replace(total, seconds=0.0, p50=None, p99=None) for total in totals]
        self._look_for_leftovers()

    async def _close_containers(self) -> None:
        for process in self._processes:
            if process is not None:
                await process.close()

    def _look_for_leftovers(self) -> None:
        leftovers = self.history.leftovers
        leftovers += sorted(
            f"task {task.get_coro()!r}" for task in asyncio.all_tasks() if task is not asyncio.current_task()
        )
        timers = self._loop._scheduled  # type: ignore[attr-defined]  # asyncio has no other way to ask
        leftovers += sorted(f"timer {timer!r}" for timer in timers if not timer.cancelled())

    # What happens to the containers

    async def _start(self, container: int) -> None:
        number = sum(known.container == container for known in self.history.incarnations)
        incarnation = Incarnation(container, number, self._loop.time())
        self.history.incarnations.append(incarnation)
        process = Process(self._network, self._schedule, self.history, incarnation)
        self._hosts.append(process.host)
        await process.open()
        self._processes[container] = process

    async def _replace(self, process: Process, fault: Fault) -> None:
        """Ends a container, and starts its successor."""
        container = process.incarnation.container
        self._processes[container] = None
        if fault.kind == "kill":
            process.kill(loses=fault.amount < 1)
            self._chore(process.close())
        elif fault.kind == "drain":
            await process.drain(fault.amount)
        else:
            await process.close()
        await asyncio.sleep(fault.lasts)
        await self._start(container)
        self._changing.discard(container)

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._chores[task] = None
        task.add_done_callback(self._chore_done)

    def _chore_done(self, task: asyncio.Task[None]) -> None:
        del self._chores[task]
        task.result()

    # Faults

    def _later(self, seconds: float, end: Callable[..., None], *args: Any) -> None:
        self._ends.append(self._loop.call_later(seconds, end, *args))

    def _apply(self, fault: Fault) -> None:
        container, network, later = fault.container, self._network, self._later
        where, inward = endpoint(container), bool(fault.inward)
        process, engine = self._processes[container], self._engines[fault.worker]
        if fault.kind in ("kill", "drain", "close"):
            if process is None or container in self._changing or (process.host.held and fault.kind != "kill"):
                return  # a blocked process cannot end by itself
            self._changing.add(container)
            self._chore(self._replace(process, fault))
        elif fault.kind == "cut":
            network.cut(where)
        elif fault.kind == "ghost":
            network.cut(where, ghost=fault.lasts)
        elif fault.kind == "doom":
            network.doom(where, inward=inward, after=int(fault.amount))
        elif fault.kind == "partition":
            network.partition(where, inward=fault.inward is not False, outward=fault.inward is not True)
            later(fault.amount, network.heal, where)
        elif fault.kind == "choke":
            network.choke(where, inward=inward)
            later(fault.lasts, lambda: network.unchoke(where, inward=inward))
        elif fault.kind == "block" and process is not None:
            process.host.freeze()
            later(fault.amount, process.host.thaw)
        elif fault.kind == "block-worker":
            engine.host.freeze()
            later(fault.amount, engine.host.thaw)
        elif fault.kind == "jump":
            self.history.jumps.append((self._loop.time(), fault.amount))
            self._loop.jump(fault.amount)
        elif fault.kind == "slow":
            network.conditions.jitter = fault.amount / 4
        elif fault.kind == "disconnect":
            self._chore(engine.disconnect_for(container, fault.amount / 10, fault.lasts))
        elif fault.kind == "crash":
            engine.crash(seen=bool(fault.inward))
            self._chore(engine.end())
        elif fault.kind == "close-worker":
            self._chore(engine.close_for(fault.amount / 10, fault.lasts))
        self.history.applied.append((self._loop.time(), fault))
