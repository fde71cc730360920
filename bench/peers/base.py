"""What the harness asks of a peer, and the loops that the asynchronous ones share."""

from __future__ import annotations

import abc
import asyncio
import importlib.util
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from ..scenarios import Scenario

    Call = Callable[[Any], Awaitable[Any]]
    Connected = AbstractAsyncContextManager[Sequence[Call]]
    Open = Callable[[int], AsyncIterator[Any]]

__all__ = [
    "WARM_UP",
    "AsyncPeer",
    "Count",
    "Peer",
    "Stopwatch",
    "absent",
    "cpu_and_memory",
    "keep_in_flight",
    "loop_factory",
    "serve_until_killed",
    "take_items",
]

WARM_UP = 0.2
"""Seconds before the counting begins."""


@dataclass(frozen=True, slots=True)
class Count:
    """What one measurement saw.

    Attributes:
        requests: how many were answered in the time; of a stream: how many items arrived.
        seconds: how long it took.
        client_cpu, server_cpu: CPU seconds of each process meanwhile, all threads.
        client_rss, server_rss: the most memory that each process has held, in bytes.
    """

    requests: int
    seconds: float
    client_cpu: float
    server_cpu: float
    client_rss: int
    server_rss: int

    @property
    def rate(self) -> float:
        """Requests or items per second."""
        return self.requests / self.seconds


class Peer(Protocol):
    """One way to call a function of another process.

    Attributes:
        name: as on the command line.
        title: for charts.
        unfair: what the comparison favours or leaves out, to either side.
        loops: ``asyncio``, ``uvloop``; or ``none`` for one without an event loop.
    """

    name: str
    title: str
    unfair: str
    loops: tuple[str, ...]

    def missing(self) -> str | None:
        """Why it cannot run here, and what to install; None: it can."""

    def supports(self, scenario: Scenario) -> bool:
        """Whether the row makes sense for it."""

    def serve(self, scenario: Scenario, loop: str, ready: Callable[[Sequence[str]], None]) -> None:
        """Answers until the process is ended; ``ready`` is told the endpoints."""

    def measure(
        self, scenario: Scenario, endpoints: Sequence[str], loop: str, seconds: float, stopwatch: Stopwatch
    ) -> Count:
        """Keeps the row's requests or its stream under way, and counts."""


def cpu_and_memory(pid: int | str) -> tuple[float, int]:
    """CPU seconds of all threads of a process so far, and its memory in bytes; from Linux's /proc."""
    tasks = Path(f"/proc/{pid}/task")
    nanoseconds = 0
    for task in tasks.iterdir():
        try:
            nanoseconds += int((task / "schedstat").read_text().split()[0])
        except OSError:  # a thread that has just ended
            continue
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return nanoseconds / 1e9, pages * os.sysconf("SC_PAGE_SIZE")


def peak_memory(pid: int | str) -> int:
    """The most memory that a process has held, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


class Stopwatch:
    """Takes time, CPU and memory of client and server at the same moments."""

    def __init__(self, server_pid: int) -> None:
        self._server = server_pid
        self._began: tuple[int, float, float, float] | None = None

    def start(self, done: int) -> None:
        """The counting begins, ``done`` requests behind it."""
        client, server = cpu_and_memory("self")[0], cpu_and_memory(self._server)[0]
        self._began = (done, time.perf_counter(), client, server)

    def stop(self, done: int) -> Count:
        """The counting ends."""
        assert self._began is not None
        end = time.perf_counter()
        client, server = cpu_and_memory("self")[0], cpu_and_memory(self._server)[0]
        done_before, began, client_before, server_before = self._began
        return Count(
            done - done_before,
            end - began,
            client - client_before,
            server - server_before,
            peak_memory("self"),
            peak_memory(self._server),
        )


async def keep_in_flight(
    calls: Sequence[Call], scenario: Scenario, seconds: float, stopwatch: Stopwatch, timeout: float = 30.0
) -> Count:
    """A closed loop: ``scenario.in_flight`` coroutines, each awaiting one call after the other."""
    payload = scenario.payload()
    echoed = await asyncio.wait_for(calls[0](payload), timeout)
    if echoed != payload:
        raise RuntimeError(f"no echo: {type(payload).__name__} came back as {type(echoed).__name__}")
    done = 0
    ending = False

    async def caller(call: Call) -> None:
        nonlocal done
        while not ending:
            await call(payload)
            done += 1

    tasks = [asyncio.create_task(caller(calls[number % len(calls)])) for number in range(scenario.in_flight)]
    await asyncio.sleep(WARM_UP)
    stopwatch.start(done)
    await asyncio.sleep(seconds)
    count = stopwatch.stop(done)
    ending = True
    await asyncio.wait_for(asyncio.gather(*tasks), timeout)
    return count


async def take_items(
    open_stream: Open, scenario: Scenario, seconds: float, stopwatch: Stopwatch, timeout: float = 30.0
) -> Count:
    """Takes one whole stream, from its opening to its end, of as many items as should take ``seconds``."""

    async def take(count: int) -> None:
        taken = 0
        async for item in open_stream(count):
            taken += len(item)
        if taken != count * scenario.size:
            raise RuntimeError(f"{taken:,} bytes arrived, not {count:,} items of {scenario.size} B")

    count = 1000
    while True:  # one stream after the other, until one is long enough to tell the rate
        began = time.perf_counter()
        await asyncio.wait_for(take(count), timeout)
        if (spent := time.perf_counter() - began) >= WARM_UP:
            break
        count *= 2
    count = max(1, int(count / spent * seconds))
    stopwatch.start(0)
    await asyncio.wait_for(take(count), seconds + timeout)
    return stopwatch.stop(count)


class AsyncPeer(abc.ABC):
    """What the peers on an event loop have in common."""

    name: str
    title: str
    unfair: str
    loops: tuple[str, ...] = ("asyncio", "uvloop")
    needs: tuple[str, ...] = ()
    """The modules that have to be installed."""

    @abc.abstractmethod
    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """Answers until it is cancelled or the process is ended."""

    @abc.abstractmethod
    def connected(self, endpoints: Sequence[str]) -> Connected:
        """A context with one call for each endpoint."""

    def streaming(self, endpoints: Sequence[str]) -> AbstractAsyncContextManager[Open]:
        """A context with a function that opens a stream of so many items; for peers that have streams."""
        raise NotImplementedError(f"{self.name} has no streams")

    def missing(self) -> str | None:
        """The first module that is not installed."""
        return absent(*self.needs)

    def supports(self, scenario: Scenario) -> bool:
        """All but the rows with many containers."""
        return scenario.containers == 1

    def serve(self, scenario: Scenario, loop: str, ready: Callable[[Sequence[str]], None]) -> None:
        """Answers until the process is ended."""
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            runner.run(self.serving(scenario, ready))

    def measure(
        self, scenario: Scenario, endpoints: Sequence[str], loop: str, seconds: float, stopwatch: Stopwatch
    ) -> Count:
        """The closed loop, or the stream."""

        async def measure() -> Count:
            if scenario.kind == "items":
                async with self.streaming(endpoints) as open_stream:
                    return await take_items(open_stream, scenario, seconds, stopwatch)
            async with self.connected(endpoints) as calls:
                return await keep_in_flight(calls, scenario, seconds, stopwatch)

        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            return runner.run(measure())


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes event loops of a kind."""
    if loop == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


async def serve_until_killed() -> None:
    """The parent ends the process."""
    await asyncio.get_running_loop().create_future()


def absent(*modules: str) -> str | None:
    """Which of the modules cannot be imported, and what to do."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed: .venv/bin/pip install -e '.[bench]'"
    return None
