"""Many links in one group of one engine: what they cost, and how they come back when all containers are killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from mpzmq import ComputerEngineWorker, RequestError
from mpzmq.testing import ContainerProcess

from .memory import resident_bytes
from .place import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mpzmq import Group

__all__ = ["Findings", "Plan", "links_report", "many_links"]

STARTS_AT_ONCE = 4
"""Processes that start at the same time: more would only share the processors."""

PATIENCE = 120.0
"""Seconds in which all processes have to serve, and all links to stand."""

TIMEOUT = 30.0
"""Of each call."""

_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried.

    Attributes:
        processes: that serve.
        servers: in each of them.
        seconds: for which the links are watched while nobody uses them, and for which they are called.
        callers: that call, each one call after the other; every other one's calls are idempotent.
        pause: seconds between two calls of one of them.
    """

    processes: int = 20
    servers: int = 50
    seconds: float = 4.0
    callers: int = 20
    pause: float = 0.05

    @property
    def links(self) -> int:
        """How many there are."""
        return self.processes * self.servers


@dataclass(slots=True)
class Calls:
    """How calls have ended.

    Attributes:
        seconds: that each answer took.
        errors: of the others.
    """

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Findings:
    """What was seen: seconds, bytes of the engine's process, and shares of one processor.

    Attributes:
        connected: until all links stood.
        memory, descriptors: that they take.
        idle: the processor's share of links that nobody uses.
        busy: its share while they are called.
        calls: that were made then.
        served: from the kill until all successors served.
        restarted: from the kill until all links stood.
        restart_busy: the processor's share in that time.
        during: calls that were made then.
    """

    connected: float = 0.0
    memory: int = 0
    descriptors: int = 0
    idle: float = 0.0
    busy: float = 0.0
    calls: Calls = field(default_factory=Calls)
    served: float = 0.0
    restarted: float = 0.0
    restart_busy: float = 0.0
    during: Calls = field(default_factory=Calls)


class _Crowd:
    """The processes, each at a host of its own."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._files = [folder / f"{number}.json" for number in range(plan.processes)]
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        # Not 127.0.0.1, from which the engine dials: while nobody listens at a port that the system has chosen, it may
        # give that very port to a dial, which then reaches itself, or keeps the successor from its place.
        self._processes = [
            ContainerProcess(
                "tests.chaos.many_containers:server",
                folder=ROOT,
                endpoint=f"tcp://127.0.1.{number}:0",
                env={"MANY_SERVERS": str(plan.servers), "MANY_HOST": f"127.0.1.{number}", "MANY_FILE": str(path)},
                name=path.stem,
                start_timeout=PATIENCE,
            )
            for number, path in enumerate(self._files, 1)
        ]

    def endpoints(self) -> list[str]:
        """Where they serve."""
        others = [endpoint for path in self._files for endpoint in json.loads(path.read_text())]
        return [process.endpoint for process in self._processes] + others

    async def start(self) -> None:
        """Starts all of them, on the endpoints that they had before."""
        async with asyncio.TaskGroup() as tasks:
            for process in self._processes:
                tasks.create_task(self._start(process))

    async def _start(self, process: ContainerProcess) -> None:
        async with self._starts:
            await asyncio.to_thread(process.start)

    async def kill(self) -> None:
        """SIGKILL for all of them."""
        for process in self._processes:
            process.kill()
        await asyncio.gather(*(asyncio.to_thread(process.wait) for process in self._processes))

    async def stop(self) -> None:
        """Ends all of them."""
        await asyncio.gather(*(asyncio.to_thread(process.stop) for process in self._processes))


@contextlib.asynccontextmanager
async def _calling(group: Group, plan: Plan) -> AsyncIterator[Calls]:
    """Callers in the background; those that are under way at the end of the block are waited for."""
    calls, ended = Calls(), asyncio.Event()

    async def call(number: int) -> None:
        is_idempotent = number % 2 == 1
        caller = group.options(idempotent=is_idempotent, timeout=TIMEOUT)
        while not ended.is_set():
            began = time.perf_counter()
            try:
                await caller.call("echo", number)
            except RequestError as error:
                kind = "idempotent" if is_idempotent else "not idempotent"
                calls.errors[f"{type(error).__name__}, executed {error.executed}, {kind}"] += 1
            else:
                calls.seconds.append(time.perf_counter() - began)
            await asyncio.sleep(plan.pause)

    async with asyncio.TaskGroup() as tasks:
        for number in range(plan.callers):
            tasks.create_task(call(number))
        try:
            yield calls
        finally:
            ended.set()


async def many_links(plan: Plan) -> Findings:
    """Starts the containers, connects to them, and kills them all; ends what it has started."""
    found = Findings()
    with tempfile.TemporaryDirectory(prefix="mpzmq-links-") as folder:
        crowd = _Crowd(plan, Path(folder))
        try:
            await crowd.start()
            async with ComputerEngineWorker() as worker:
                await _observed(worker, crowd, plan, found)
        finally:
            await crowd.stop()
    return found


async def _observed(worker: ComputerEngineWorker, crowd: _Crowd, plan: Plan, found: Findings) -> None:
    memory, descriptors = resident_bytes(), _descriptors()
    began = time.perf_counter()
    group = await worker.group(crowd.endpoints(), name="many", timeout=PATIENCE)
    await group.wait_ready(plan.links, timeout=PATIENCE)
    found.connected = time.perf_counter() - began
    found.memory, found.descriptors = resident_bytes() - memory, _descriptors() - descriptors

    used = _Processor()
    await asyncio.sleep(plan.seconds)
    found.idle = used.share()

    used = _Processor()
    async with _calling(group, plan) as found.calls:
        await asyncio.sleep(plan.seconds)
        found.busy = used.share()

    async with _calling(group, plan) as found.during:
        used, began = _Processor(), time.perf_counter()
        await crowd.kill()
        await crowd.start()
        found.served = time.perf_counter() - began
        await group.wait_ready(plan.links, timeout=PATIENCE)
        found.restarted, found.restart_busy = time.perf_counter() - began, used.share()


class _Processor:
    """How much of a processor this process takes, from now on."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def share(self) -> float:
        """So far."""
        wall, processor = self._began
        return (time.process_time() - processor) / (time.perf_counter() - wall)


def _descriptors() -> int:
    return len(os.listdir(_DESCRIPTORS)) if _DESCRIPTORS.exists() else 0


def links_report(plan: Plan, found: Findings) -> str:
    """What was seen, as text."""
    of_link = found.memory / plan.links / 1024
    connected = f"{found.connected:.2f} s, {found.memory / 2**20:.1f} MiB ({of_link:.0f} KiB a link)"
    callers = f"{plan.callers} callers, {plan.pause:g} s between two calls of each"
    killed = f"the last served after {found.served:.2f} s, all links stood after {found.restarted:.2f} s"
    versions = f"Python {platform.python_version()}, pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}"
    lines = [
        f"{plan.links} links in one group, to {plan.processes} processes with {plan.servers} containers each",
        f"connected: {connected}, {found.descriptors} descriptors",
        f"idle: {found.idle:.1%} of a processor",
        f"{callers}: {found.busy:.1%} of a processor, {_shown(found.calls)}",
        f"all killed: {killed}, {found.restart_busy:.1%} of a processor; {_shown(found.during)}",
        f"{platform.platform()}, {os.cpu_count()} processors, {versions}",
    ]
    return "\n".join(lines)


def _shown(calls: Calls) -> str:
    text = f"{len(calls.seconds)} answered"
    if calls.seconds:
        text += f" (p50 {_quantile(calls.seconds, 0.5):.1f} ms, p99 {_quantile(calls.seconds, 0.99):.1f} ms)"
    errors = [f"{count} {name}" for name, count in calls.errors.most_common()]
    return f"{text}, {calls.errors.total()} failed" + (f" ({'; '.join(errors)})" if errors else "")


def _quantile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return 1000 * sorted(seconds)[min(int(len(seconds) * share), len(seconds) - 1)]
