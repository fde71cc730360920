"""Many callers, a few containers, and something wrong every second: at the end the books of both sides are compared."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from mpzmq import ComputerEngineWorker, HeartbeatPolicy, LinkDown, ReconnectPolicy

from .container import SAMPLE as CONTAINER_SAMPLE
from .engine import Caller, Watch
from .faults import FAULTS, Scene
from .history import (
    ContainerHistory,
    EngineLog,
    Stall,
    Violation,
    check,
    check_counters,
    check_memory,
    check_worker,
    read_container,
    read_engine,
)
from .memory import resident_bytes
from .noise import NoisyLink
from .place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from uuid import UUID

    from .faults import Fault
    from .history import Request, Run

__all__ = ["CALLERS", "PAUSE", "Plan", "Soak", "SoakResult"]

RECOVERY = 30.0
"""Seconds after the end of a fault in which a container has to answer again: this is no promise, but no hang either."""

LONGEST = 5.0
"""Seconds of the longest deadline that a caller sets."""

CALLERS = 75
"""That ask at the same time."""

PAUSE = 0.1
"""Seconds between two requests of one caller, on average."""

SAMPLE = 0.1
"""Seconds between two looks at memory, counters and the delay of the event loop.

A request may end some passes behind its deadline (an upload that waits: seven). If they are long, they are as many
looks: without what these were late by, that is less than a second.
"""

STALL = 0.01
"""Seconds from which on the event loop is late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        seconds: of faults.
        seed: of everything that is drawn by lot; what the processes and the network make of it differs from run to run.
        folder: for the histories.
        containers: processes.
        callers: that ask at the same time.
        pause: seconds between two requests of one caller, on average.
        gaps: seconds between two faults, at least and at most.
        spared: of so many containers the process is never ended, so that their memory can be looked at.
        warm: seconds after which memory has to be flat.
    """

    seconds: float
    seed: int
    folder: Path
    containers: int = 3
    callers: int = CALLERS
    pause: float = PAUSE
    gaps: tuple[float, float] = (0.5, 3.0)
    spared: int = 1
    warm: float = 600.0
    heartbeat: HeartbeatPolicy = field(default_factory=lambda: HeartbeatPolicy(interval=0.4, down_after=1.0))
    reconnect: ReconnectPolicy = field(
        default_factory=lambda: ReconnectPolicy(interval=0.1, connect_timeout=1.0, lost_after=1.0)
    )


@dataclass(slots=True)
class SoakResult:
    """What came of it.

    Attributes:
        violations: broken promises.
        requests: how many ended how.
        runs: starts of handlers.
        strangers: of them, those under ids that nobody issued, which flips have made.
        flips: bytes that were flipped.
        resent: requests that were sent again.
        detected: by fault, seconds to LinkDown, where one came.
        recovered: by fault, seconds from its end to the first answer.
        faults: how often each was made.
        stalls: of the engine's event loop.
        memory: of the engine, sampled.
        containers: memory of each instance, sampled.
        books: what both sides wrote of each container whose bytes nobody has flipped.
    """

    violations: list[Violation] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    strangers: int = 0
    flips: int = 0
    resent: int = 0
    detected: dict[str, list[float]] = field(default_factory=dict)
    recovered: dict[str, list[float]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    stalls: list[Stall] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    containers: dict[str, list[int]] = field(default_factory=dict)
    books: list[tuple[list[Request], list[Run]]] = field(default_factory=list)

    @property
    def lag(self) -> float:
        """The longest time for which the engine's event loop was late."""
        return max((stall.seconds for stall in self.stalls), default=0.0)


class Soak:
    """One run of a plan: ``await Soak(plan).run()``."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rng = Random(plan.seed)
        self._outcome = SoakResult()
        self._logs: dict[UUID, EngineLog] = {}
        self._ending = asyncio.Event()
        self._all_ended = asyncio.Event()
        self._began = time.monotonic()
        self._lag = 0.0

    async def run(self) -> SoakResult:
        """Makes faults for as long as the plan says, and compares."""
        plan, outcome = self._plan, self._outcome
        worker = ComputerEngineWorker(reconnect=plan.reconnect, heartbeat=plan.heartbeat)
        async with contextlib.AsyncExitStack() as stack:
            # Entered first, closed last: what is late is seen until the end.
            await stack.enter_async_context(worker)
            places = [
                await stack.enter_async_context(Place(worker, plan.folder / f"container-{number}", plan.heartbeat))
                for number in range(plan.containers)
            ]
            logs = [EngineLog(plan.folder / f"engine-{number}") for number in range(plan.containers)]
            for place, log in zip(places, logs, strict=True):
                stack.callback(log.close)
                self._logs[place.direct.remote_id] = self._logs[place.proxied.remote_id] = log
            noise = await stack.enter_async_context(NoisyLink(places[0], self._another()))
            self._logs[noise.remote_id] = logs[0]
            self._watch = Watch(worker)
            await self._storm(worker, places, noise)
            outcome.flips = noise.flips
            counted = worker.service().statistics()
            outcome.resent = counted.resent
            await worker.close()
            await self._watch.close()
        requests = [read_engine(plan.folder / f"engine-{number}") for number in range(plan.containers)]
        outcome.violations += check_worker(counted, [request for some in requests for request in some])
        for place, asked in zip(places, requests, strict=True):
            self._compare(place.history.name, asked, read_container(place.history), noisy=place is places[0])
        self._check_memory("the engine", outcome.memory, SAMPLE)
        return outcome

    def _another(self) -> Random:
        """Lots of its own for each task: the order in which tasks run does not matter then."""
        return Random(self._rng.getrandbits(64))

    async def _storm(self, worker: ComputerEngineWorker, places: list[Place], noise: NoisyLink) -> None:
        links = [link for place in places for link in (place.direct, place.proxied)]
        pause = self._plan.pause
        callers = [
            Caller(self._another(), self._logs, links, self._watch, pause=pause) for _ in range(self._plan.callers)
        ]
        callers += [
            Caller(self._another(), self._logs, noise.links, self._watch, pause=pause, tainted=True) for _ in range(4)
        ]
        asking = [asyncio.create_task(caller.run(self._ending)) for caller in callers]
        sampling, flipping = asyncio.create_task(self._sample(worker)), asyncio.create_task(noise.run(self._ending))
        try:
            await self._make_faults(places)
            self._ending.set()
            # Nothing is broken any more: whatever has no deadline has to end, too.
            _, late = await asyncio.wait(asking, timeout=LONGEST + RECOVERY)
            # What has not ended now is written down as that; then it may end.
            for log in set(self._logs.values()):
                log.close()
            for task in late:
                task.cancel()
            await asyncio.gather(*asking, flipping)
            self._all_ended.set()
            await sampling
        finally:
            for task in (*asking, sampling, flipping):
                task.cancel()

    async def _make_faults(self, places: list[Place]) -> None:
        rng = self._another()
        end = time.monotonic() + self._plan.seconds
        async with asyncio.TaskGroup() as faults:
            while time.monotonic() < end:
                await asyncio.sleep(rng.uniform(*self._plan.gaps))
                free = [place for place in places if not place.busy.locked()]
                if free:
                    place = rng.choice(free)
                    spared = place in places[len(places) - self._plan.spared :]
                    faults_here = [fault for fault in FAULTS if not (spared and fault.ends_process)]
                    (fault,) = rng.choices(faults_here, [fault.weight for fault in faults_here])
                    await place.busy.acquire()
                    faults.create_task(self._one_fault(fault, place, self._another()))

    async def _one_fault(self, fault: Fault, place: Place, rng: Random) -> None:
        outcome, watch = self._outcome, self._watch
        link = place.proxied if fault.link == "proxied" else place.direct
        outcome.faults[fault.name] += 1
        try:
            began = time.monotonic()
            await fault.run(Scene(place, rng, self._logs[place.direct.remote_id], self._plan.heartbeat.down_after))
            over = time.monotonic()
            try:
                answered = await watch.next_answer(link.remote_id, over, RECOVERY)
            except TimeoutError:
                when = f"{over - self._began:.0f} s after the beginning, the loop late by {self._lag:.2f} s"
                text = f"{fault.name}, {link.name}: no answer within {RECOVERY:g} s, {link.state}, {link.last_error!r}"
                text += f"; {when}"
                outcome.violations.append(Violation("not recovered", text))
                return
            outcome.recovered.setdefault(fault.name, []).append(answered - over)
            down = watch.first(link.remote_id, LinkDown, began)
            if down is not None:
                outcome.detected.setdefault(fault.name, []).append(down - began)
        finally:
            place.busy.release()

    async def _sample(self, worker: ComputerEngineWorker) -> None:
        outcome = self._outcome
        while not self._all_ended.is_set():
            due = time.monotonic() + SAMPLE
            await asyncio.sleep(SAMPLE)
            self._lag = time.monotonic() - due
            if self._lag > STALL:
                outcome.stalls.append(Stall(due, self._lag))
            outcome.memory.append(resident_bytes())
            now = worker.service().statistics()
            if now.issued != now.replied + now.failed + now.cancelled + now.in_flight:
                outcome.violations.append(Violation("a worker's counters do not add up", f"{now}"))

    def _compare(self, name: str, requests: list[Request], history: ContainerHistory, *, noisy: bool) -> None:
        outcome = self._outcome
        outcome.violations += check(requests, history.runs, stalls=outcome.stalls, strangers=noisy)
        outcome.violations += check_counters(history)
        if not noisy:
            outcome.books.append((requests, history.runs))
        for instance, samples in history.memory().items():
            outcome.containers[f"{name}, {instance}"] = samples
            self._check_memory(f"{name}, {instance}", samples, CONTAINER_SAMPLE)
        issued = {request.id for request in requests}
        outcome.runs += len(history.runs)
        outcome.strangers += sum(run.id not in issued for run in history.runs)
        outcome.requests.update(request.error or str(request.outcome) for request in requests)

    def _check_memory(self, whose: str, samples: Sequence[int], every: float) -> None:
        warm = int(self._plan.warm / every)
        self._outcome.violations += check_memory(samples, whose=whose)
        self._outcome.violations += check_memory(samples, whose=whose, warm=warm)
