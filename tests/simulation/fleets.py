"""``python -m tests.simulation.fleets``: one engine and very many containers that are lost and come back, all at once.

They are asked as one group all the while. What is looked at is the storm: how often links dial, how many requests are
tried again, how long it takes until all are there, and whether every request has ended, once and in time.
"""

# ruff: noqa: T201  # a program for a terminal

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import random
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from mpzmq import (
    ComputerEngineWorker,
    ContainerServer,
    Endpoint,
    GroupPolicy,
    HeartbeatPolicy,
    LinkState,
    ReconnectPolicy,
    RequestError,
)
from mpzmq.testing.simnet.network import MemoryNetwork, VirtualClockLoop

from .violation import Violation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq import Group
    from mpzmq.failure import Failure
    from mpzmq.testing.simnet.connection import Connection
    from mpzmq.testing.simnet.network import MemoryDealer, MemoryHost

__all__ = ["Losses", "run"]

HEARTBEAT = HeartbeatPolicy(interval=2.0, down_after=6.0)
RECONNECT = ReconnectPolicy(interval=1.0, lost_after=3.0)
POLICY = GroupPolicy()
TIMEOUT = 5.0
AWAY = 10.0
"""Seconds for which all are lost."""

TOLERANCE = 0.2
"""Seconds by which a request may end after its deadline: none of them is measured by a clock that others have, too."""


class _Network(MemoryNetwork):
    """It notes when it was dialled."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, latency=0.001, jitter=0.002)
        self.dials: Counter[tuple[int, str]] = Counter()

    def answer(self, dealer: MemoryDealer) -> Connection | Failure:
        """As every network does."""
        self.dials[int(asyncio.get_running_loop().time()), dealer.endpoint] += 1
        return super().answer(dealer)


@dataclass
class Losses:
    """What was seen.

    Attributes:
        containers: how many there were.
        violations: promises that were broken.
        outcomes: how requests ended.
        issued, tried: requests, and how often a container was asked for one.
        dials: the most dials of one link within a second, and of all links.
        back: seconds from the return until all could be talked to again, for each loss.
        seconds: of processor time, for each phase.
        mebibytes: of memory, at the most.
    """

    containers: int
    violations: list[Violation] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    issued: int = 0
    tried: int = 0
    dials: tuple[int, int] = (0, 0)
    back: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    mebibytes: float = 0.0


class _All:
    """All of them, from the beginning."""

    def __init__(self, addresses: list[str]) -> None:
        self._endpoints = [Endpoint(address, name=f"c{number}") for number, address in enumerate(addresses)]

    async def watch(self) -> AsyncIterator[list[Endpoint]]:
        """They do not change."""
        yield self._endpoints


class _World:
    def __init__(self, containers: int, rate: int, seed: int) -> None:
        self.seen = Losses(containers)
        self._rate = rate
        self._chance = random.Random(f"{seed} losses")
        self._network = _Network(seed)
        self._addresses = [f"tcp://127.0.0.1:{1024 + number}" for number in range(containers)]
        self._servers: list[tuple[ContainerServer, MemoryHost]] = []
        self._ran: Counter[int] = Counter()
        self._loop = cast("VirtualClockLoop", asyncio.get_running_loop())
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """All of it."""
        host = self._network.host()
        worker = ComputerEngineWorker(name="engine", reconnect=RECONNECT, heartbeat=HEARTBEAT)
        worker._transport = host
        async with worker:
            with self._timed("start"):
                await self._start()
            with self._timed("connect"):
                group = await worker.group(_All(self._addresses), name="all", policy=POLICY, timeout=60.0)
                await self._until_all_are_there(group)
            with self._timed("10 s of idleness"):
                await asyncio.sleep(10.0)
            callers = self._loop.create_task(self._call_on(group))
            with self._timed("10 s of calls"):
                await asyncio.sleep(10.0)
            with self._timed("cut off and back"):
                for address in self._addresses:
                    self._network.partition(address)
                await asyncio.sleep(AWAY)
                for address in self._addresses:
                    self._network.heal(address)
                self.seen.back["cut off"] = await self._until_all_are_there(group)
            with self._timed("killed and started anew"):
                for _, killed in self._servers:
                    killed.kill(loses=True)
                for server, _ in self._servers:
                    await server.close()
                await asyncio.sleep(AWAY)
                await self._start()
                self.seen.back["killed"] = await self._until_all_are_there(group)
            await asyncio.sleep(TIMEOUT)
            callers.cancel()
            await asyncio.wait([callers, *self._asking])
            total = group.statistics()
            self._require("counters", total.issued == total.replied + total.failed + total.cancelled, f"{total}")
        for server, _ in self._servers:
            await server.close()
        self._judge()

    async def _start(self) -> None:
        self._servers = []
        for address in self._addresses:
            host = self._network.host()
            server = ContainerServer(name=address, heartbeat=HEARTBEAT)
            server._transport = host
            server.function(self._note, name="note")
            await server.bind(address)
            self._servers.append((server, host))

    async def _note(self, number: int) -> int:
        self._ran[number] += 1
        await asyncio.sleep(0.01)
        return number

    async def _until_all_are_there(self, group: Group) -> float:
        began = self._loop.time()
        while any(member.state is not LinkState.ALIVE for member in group.members):
            self._require("all are back", self._loop.time() < began + 60.0, "after a minute some are not there")
            await asyncio.sleep(0.1)
        return self._loop.time() - began

    async def _call_on(self, group: Group) -> None:
        number = 0
        while True:
            await asyncio.sleep(self._chance.expovariate(self._rate))
            task = self._loop.create_task(self._call(group, number))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            number += 1

    async def _call(self, group: Group, number: int) -> None:
        began, idempotent = self._loop.time(), number % 2 == 0
        self.seen.issued += 1
        try:
            answer = await group.call("note", number, timeout=TIMEOUT, idempotent=idempotent)
            self._require("answers", answer == number, f"{number} was answered with {answer}")
            outcome = "reply"
        except RequestError as error:
            outcome = f"{type(error).__name__} {error.executed.name}"
            self.seen.tried += max(len(error.tried) - 1, 0)
            ran = self._ran[number]
            self._require("no means no", error.executed.name != "NO" or not ran, f"{number}: {error}")
        self.seen.outcomes[outcome] += 1
        took = self._loop.time() - began
        self._require("deadlines", took <= TIMEOUT + TOLERANCE, f"{number} took {took:.3f} s")
        self._require("at most once", idempotent or self._ran[number] <= 1, f"{number} ran {self._ran[number]} times")

    def _require(self, promise: str, kept: bool, text: str) -> None:
        if not kept:
            self.seen.violations.append(Violation(promise, text))
            if promise == "all are back":
                raise TimeoutError(text)

    def _judge(self) -> None:
        """Whether the storm was within its budgets."""
        seen = self.seen
        self._require("every request ends", sum(seen.outcomes.values()) == seen.issued, f"{seen.outcomes}")
        # A redial waits for an interval and up to one more; the first one behind a good connection leaves at once.
        most, by_second = 0, Counter[int]()
        for (second, _), dials in self._network.dials.items():
            most = max(most, dials)
            by_second[second] += dials
        seen.dials = most, max(by_second.values())
        self._require("dials", most <= 3, f"a link has dialled {most} times within a second")
        tries = sum(self._ran.values())
        budget = seen.issued * (1 + POLICY.retry_ratio) + POLICY.retry_floor * self._loop.time()
        self._require("tries", tries <= budget, f"{tries} runs of {seen.issued} requests")
        seen.tried += tries

    def _timed(self, phase: str) -> _Timed:
        return _Timed(self.seen, phase)


class _Timed:
    """Processor time and memory of a phase."""

    def __init__(self, seen: Losses, phase: str) -> None:
        self._seen = seen
        self._phase = phase

    def __enter__(self) -> None:
        self._began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self._seen.seconds[self._phase] = time.process_time() - self._began
        self._seen.mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(containers: int, *, rate: int = 100, seed: int = 0) -> Losses:
    """Runs it.

    Args:
        containers: how many.
        rate: requests a second.
        seed: where all chance comes from.
    """
    seen: Losses

    async def scene() -> None:
        nonlocal seen
        world = _World(containers, rate, seed)
        seen = world.seen
        await world.run()

    state = random.getstate()
    random.seed(seed)
    try:
        with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
            runner.run(scene())
    finally:
        random.setstate(state)
    return seen


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.fleets", description=__doc__)
    parser.add_argument("--containers", type=int, default=10_000, help="how many containers (10000)")
    parser.add_argument("--rate", type=int, default=500, help="requests a second (500)")
    parser.add_argument("--seed", type=int, default=0, help="where all chance comes from (0)")
    options = parser.parse_args()
    logging.disable()
    gc.freeze()
    seen = run(options.containers, rate=options.rate, seed=options.seed)
    print(f"{seen.containers:,} containers, {seen.issued:,} requests: {dict(seen.outcomes.most_common())}")
    print(f"asked {seen.tried:,} times; dials in a second: {seen.dials[0]} of a link, {seen.dials[1]:,} of all")
    print("all back after " + ", ".join(f"{seconds:.1f} s ({loss})" for loss, seconds in seen.back.items()))
    print("processor time: " + ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in seen.seconds.items()))
    print(f"{seen.mebibytes:,.0f} MiB")
    for violation in seen.violations:
        print(f"VIOLATION {violation}")
    return bool(seen.violations)


if __name__ == "__main__":
    sys.exit(main())
