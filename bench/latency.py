"""The open loop: requests start on a schedule, whatever became of those before them.

A closed loop hides delays: while one reply is late, nothing else is sent that could be late too (coordinated
omission). Here every request has its time, and its latency counts from that time.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from .peers import load
from .peers.base import WARM_UP, AsyncPeer, loop_factory
from .processes import PeerFailed, Server, run_client
from .scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .peers.base import Call
    from .scenarios import Scenario

__all__ = ["PERCENTILES", "RATES", "SHARES", "compare_latency", "measure_latency"]

SHARES = (0.25, 0.5, 0.75)
"""Rates, as shares of the capacity that a closed loop with a task for each request finds."""

RATES = (1_000, 4_000, 16_000)
"""Requests a second that are the same for all: a share of each peer's own capacity says little where one has ten times
that of another."""

SPARE = 0.8
"""A peer is not asked for more than this part of its capacity: beyond it, what is measured is its queue."""

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0)

TIMEOUT = 30.0


async def open_loop(call: Call, scenario: Scenario, rate: float, seconds: float) -> list[float]:
    """Starts ``rate`` requests a second; returns all latencies in seconds, from the scheduled time, in order of size.

    The schedule is kept in ticks of the event loop: what has become due is started together.
    """
    loop = asyncio.get_running_loop()
    payload = scenario.payload()
    await asyncio.wait_for(asyncio.ensure_future(call(payload)), TIMEOUT)
    total = int(rate * seconds)
    latencies: list[float] = []
    under_way: set[asyncio.Task[None]] = set()
    clock = time.perf_counter  # not the loop's: uvloop's stands still during a pass
    began = clock() + 0.05

    async def one(due: float) -> None:
        await call(payload)
        latencies.append(clock() - due)

    started = 0
    while started < total:
        now = clock()
        while started < total and (due := began + started / rate) <= now:
            task = loop.create_task(one(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            started += 1
        await asyncio.sleep(0.0005)
    if under_way:
        await asyncio.wait(under_way, timeout=TIMEOUT)
    if len(latencies) != total:
        raise RuntimeError(f"{total - len(latencies)} of {total} requests had no reply")
    return sorted(latencies)


async def capacity(call: Call, scenario: Scenario, seconds: float) -> float:
    """Requests a second with a thousand under way, each in a task of its own, as in the open loop."""
    payload = scenario.payload()
    done = 0
    ending = False
    tasks: set[asyncio.Task[None]] = set()

    def start() -> None:
        task = asyncio.create_task(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def one() -> None:
        nonlocal done
        await call(payload)
        done += 1
        if not ending:
            start()

    for _ in range(scenario.in_flight):
        start()
    await asyncio.sleep(WARM_UP)
    before, began = done, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (done - before) / (time.perf_counter() - began)
    ending = True
    await asyncio.wait(tasks, timeout=TIMEOUT)
    return rate


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of all lie."""
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)]


def measure_latency(
    name: str, scenario: str, loop: str, seconds: float, endpoints: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The client process: the rate and the percentiles in milliseconds, by share of the peer's own capacity (below 1),
    and by requests a second, as far as its capacity goes."""
    peer = load(name)
    assert isinstance(peer, AsyncPeer)

    async def measure() -> dict[str, dict[str, float]]:
        found = {}
        async with peer.connected(endpoints) as calls:
            most = await capacity(calls[0], SCENARIOS[scenario], seconds)
            rates = {f"{share:g}": most * share for share in SHARES}
            rates |= {str(rate): rate for rate in RATES if rate <= SPARE * most}
            for key, rate in rates.items():
                ordered = await open_loop(calls[0], SCENARIOS[scenario], rate, seconds)
                percentiles = {f"{percent:g}": percentile(ordered, percent) * 1000 for percent in PERCENTILES}
                found[key] = {"rate": rate, **percentiles}
        return found

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        return runner.run(measure())


def compare_latency(
    peers: Iterable[str], loop: str, seconds: float, say: Callable[[str], None]
) -> dict[str, dict[str, dict[str, float]]]:
    """What :func:`measure_latency` finds, for each peer."""
    scenario = SCENARIOS["echo-1000"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in peers:
        peer = load(name)
        if not isinstance(peer, AsyncPeer) or loop not in peer.loops or not peer.supports(scenario):
            continue
        server: Server | None = None
        try:
            server = Server(name, scenario, loop)
            command = ["latency", name, scenario.name, "--loop", loop, "--seconds", str(seconds)]
            patience = (1 + len(SHARES) + len(RATES)) * (seconds + TIMEOUT)
            found[name] = run_client(server, command, patience, f"{name}: latency")
        except PeerFailed as error:
            say(str(error))
        finally:
            if server is not None:
                server.close()
    return found
