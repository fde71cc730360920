"""The long run: mutated messages in both directions, then raw attacks, with a healthy client all the time.

Attackers are processes of their own: in this one they would slow down the healthy client by themselves. They have the
lowest priority: others would attack from machines of their own. What their share of this machine's processors costs
the healthy client is told beside: by the same attacks on another container.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import statistics
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import zmq

from mpzmq import ComputerEngineWorker, LinkState, MpzmqError, ReconnectPolicy, Security
from mpzmq.testing import ContainerProcess

from .attacks import ATTACKS
from .container import HEALTHY, SERVER
from .liar import LyingEngine
from .mutate import ENGINE, mutant
from .router import LyingContainer
from .target import MEBIBYTE, ROOT, Target, address_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import SpawnProcess
    from multiprocessing.queues import Queue

__all__ = ["Plan", "RunResult", "run"]

_SPAWN = multiprocessing.get_context("spawn")
CHUNK = 2000
"""Messages after which a lying engine greets anew, and says how far it is."""


@dataclass
class Plan:
    """What is to be done."""

    messages: int
    seconds: float
    seed: int
    keys: bool = False


@dataclass
class RunResult:
    """What was seen."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    late: int = 0
    violations: list[str] = field(default_factory=list)

    def report(self) -> str:
        """For people."""
        lines = [f"sent: {self.sent}, in s: { ({k: round(v, 1) for k, v in self.seconds.items()}) }"]
        lines.append(
            f"raw attacks, rounds: {self.rounds}; requests to the liar: {self.ended}, late replies: {self.late}"
        )
        base = _percentiles(self.latencies.get("undisturbed", []))
        for phase, values in self.latencies.items():
            p50, p99, worst = _percentiles(values)
            lines.append(
                f"healthy client, {phase}: {len(values)} requests, p50 {p50 * 1e3:.2f} ms ({p50 / base[0]:.1f}x),"
                f" p99 {p99 * 1e3:.2f} ms ({p99 / base[1]:.1f}x), most {worst * 1e3:.0f} ms"
            )
        for phase, facts in self.facts.items():
            lines.append(
                f"container, {phase}: RSS {facts['rss'] / MEBIBYTE:.1f} MiB, peak {facts['peak'] / MEBIBYTE:.1f} MiB,"
                f" received {facts['received']}, failed {facts['failed']}, refused {facts['refused']},"
                f" ignored {facts['ignored']}, sessions {facts['sessions']}"
            )
        lines.append(f"violations: {self.violations or 0}")
        return "\n".join(lines)


def _percentiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return (1.0, 1.0, 1.0)
    cuts = statistics.quantiles(values, n=100)
    return cuts[49], cuts[98], max(values)


# In processes of their own


def _begin() -> None:
    os.nice(19)


def _lie_as_engine(endpoint: str, seed: int, messages: int, told: Queue[Any]) -> None:
    """Sends all of the messages, each as fast as the container reads."""

    _begin()

    async def lie() -> None:
        target: Any = SimpleNamespace(endpoint=endpoint, allowed=set())
        with zmq.Context() as context, LyingEngine(context, target) as liar:
            for start in range(0, messages, CHUNK):
                await liar.greet_anew()
                for number in range(start, min(start + CHUNK, messages)):
                    await liar.send(*mutant(seed, number, ENGINE))
                    if number % 50 == 0:
                        liar.drop_replies()
                await liar.until_read_by_tag()
                told.put((min(start + CHUNK, messages), target.allowed.copy()))
                target.allowed.clear()

    asyncio.run(lie())


def _lie_as_container(seed: int, messages: int, told: Queue[Any]) -> None:
    _begin()
    with LyingContainer(seed, honest_welcomes=8, honest_replies=5, unasked=20) as liar:
        told.put((0, liar.endpoint))
        while liar.number < messages:
            if not (liar.turn() or liar.lie_to_anybody()):
                time.sleep(0.0005)
        told.put((liar.number, None))


def _attack(address: tuple[str, int], seed: int, seconds: float, told: Queue[Any]) -> None:
    _begin()
    dice, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        name = dice.choice(list(ATTACKS))
        asyncio.run(_attacked(name, address))
        told.put((1, name))


async def _attacked(name: str, address: tuple[str, int]) -> None:
    with contextlib.suppress(OSError):
        await ATTACKS[name](address)


# Here


class LongRun:
    """One run of a plan."""

    def __init__(self, plan: Plan, target: Target, other: ContainerProcess, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._target = target
        self._other = other
        self._say = say
        self.outcome = RunResult()

    async def run(self) -> None:
        """All phases, one after the other."""
        await self._phase("undisturbed", asyncio.sleep(min(10.0, 1.0 + self._plan.seconds / 10)))
        if not self._plan.keys:  # who has none cannot say a word
            await self._phase("mutated messages to the container", self._to_container())
            await self._phase("mutated messages to the engine", self._to_engine())
        await self._phase("raw attacks on another container", self._raw_elsewhere())
        await self._phase("raw attacks", self._raw())
        await self._phase("undisturbed again", asyncio.sleep(1.0))

    async def _phase(self, name: str, work: Any) -> None:
        self._say(name)
        self._target.latencies = []
        began = time.monotonic()
        try:
            async with self._target.watched(0.005):
                await work
            self.outcome.facts[name] = await self._target.unharmed(grown=256)
        except (AssertionError, MpzmqError) as error:
            self.outcome.violations.append(f"{name}: {type(error).__name__}: {error}")
        self.outcome.seconds[name] = time.monotonic() - began
        self.outcome.latencies[name] = self._target.latencies
        self._target.allowed.clear()
        self._target.ran.clear()

    async def _to_container(self) -> None:
        told: Queue[Any] = _SPAWN.Queue()
        arguments = (self._target.endpoint, self._plan.seed, self._plan.messages // 2, told)
        process = _SPAWN.Process(target=_lie_as_engine, args=arguments)
        async for number, allowed in self._follow(process, told):
            self._target.allowed |= allowed
            self.outcome.sent["to the container"] = number
            await self._target.facts()  # who has run is not left to pile up there

    async def _to_engine(self) -> None:
        told: Queue[Any] = _SPAWN.Queue()
        process = _SPAWN.Process(target=_lie_as_container, args=(self._plan.seed, self._plan.messages // 2, told))
        reconnect = ReconnectPolicy(interval=0.02, connect_timeout=2.0)
        asking: list[asyncio.Task[None]] = []
        async with ComputerEngineWorker(reconnect=reconnect) as worker:
            async for number, endpoint in self._follow(process, told):
                if endpoint is not None:
                    asking = [asyncio.create_task(self._ask(worker, endpoint)) for _ in range(20)]
                    continue
                self.outcome.sent["to the engine"] = number
                for task in asking:
                    task.cancel()
                for ended in await asyncio.gather(*asking, return_exceptions=True):
                    if not isinstance(ended, asyncio.CancelledError):
                        self.outcome.violations.append(f"an engine's caller ended with {ended!r}")
            counted = worker.statistics()
            self.outcome.late = counted.late
            if counted.issued != counted.replied + counted.failed + counted.cancelled + counted.in_flight:
                self.outcome.violations.append(f"the engine's counters: {counted}")

    async def _ask(self, worker: ComputerEngineWorker, endpoint: str) -> None:
        remote_id = uuid4()
        service = worker.service(timeout=0.5)
        while True:
            link = worker.get_engine(remote_id)
            if link is None or link.state in (LinkState.FAILED, LinkState.CLOSED):
                await worker.connect(remote_id, endpoint, name="liar", wait=False)
            elif link.state is LinkState.DRAINING or link.state is LinkState.BUSY:
                await worker.disconnect(remote_id)  # it would be left alone
                continue
            began, ended = time.monotonic(), "reply"
            try:
                await service.request(uuid4(), remote_id, "x")
            except MpzmqError as error:
                ended = type(error).__name__
            self.outcome.ended[ended] = self.outcome.ended.get(ended, 0) + 1
            if time.monotonic() - began > 5.0:
                self.outcome.violations.append(f"a request of 0.5 s ended after {time.monotonic() - began:.1f} s")

    async def _raw_elsewhere(self) -> None:
        address = address_of(self._other.endpoint)
        arguments = (address, self._plan.seed, min(60.0, self._plan.seconds / 2), _SPAWN.Queue())
        async for _ in self._follow(_SPAWN.Process(target=_attack, args=arguments), arguments[-1]):
            pass

    async def _raw(self) -> None:
        told: Queue[Any] = _SPAWN.Queue()
        arguments = (self._target.address, self._plan.seed, self._plan.seconds, told)
        process = _SPAWN.Process(target=_attack, args=arguments)
        async for count, name in self._follow(process, told):
            self.outcome.rounds[name] = self.outcome.rounds.get(name, 0) + count
            await self._target.facts()  # who has run is not left to pile up there

    async def _follow(self, process: SpawnProcess, told: Queue[Any]) -> Any:
        """What an attacker tells, until it has ended; it is ended with this one."""
        process.start()
        try:
            while True:
                alive = process.is_alive()
                while not told.empty():
                    yield told.get()
                if not alive:
                    break
                await asyncio.sleep(0.02)
            if process.exitcode:
                self.outcome.violations.append(f"an attacker ended with {process.exitcode}")
        finally:
            if process.is_alive():
                process.terminate()
            process.join()
            told.close()
            told.join_thread()


async def run(plan: Plan, say: Callable[[str], None]) -> RunResult:
    """Carries a plan out."""
    server = f"tests.hostile.container:{'keyed' if plan.keys else 'small'}"
    security = Security.client(HEALTHY, SERVER.public) if plan.keys else None
    with (
        ContainerProcess(server, folder=ROOT, drain_timeout=0.2) as process,
        ContainerProcess(server, folder=ROOT, drain_timeout=0.2) as other,
    ):
        async with Target(process, security) as target:
            one = LongRun(plan, target, other, say)
            await one.run()
            return one.outcome
