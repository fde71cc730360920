"""Three containers are restarted one after the other, and nobody who calls them notices more than a pause.

    python examples/rollout.py [--rounds 1] [--callers 20] [--kill]

Each container is a process of its own. In turn each gets SIGTERM: it takes no new work, finishes what it has begun and
ends, and its successor starts on the same port. Meanwhile callers keep calling, with ``idempotent=False``: nothing may
run twice. What the old process did not take any more waits for the successor, since ``wait=True``.

For the verdict each container writes the id of every request that it starts to a file, before anything else, and its
counters when it ends. With ``--kill`` it gets SIGKILL in place of SIGTERM, to see the verdict fail.

Exit code 0: every call was answered and ran exactly once. 1: the details are on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from mpzmq import ComputerEngineWorker, ComputerEngineWriter, ContainerServer, LinkUp, MpzmqError, RequestContext
from mpzmq.testing import ContainerProcess, StartFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq import EngineService

NAMES = ("red", "green", "blue")

BOOK = "ROLLOUT_BOOK"
"""The environment variable that tells a container where to write."""

BETWEEN = 50
"""Calls that every container has to answer between two restarts."""

PATIENCE = 30.0
"""Seconds after which something that has to happen has not."""


# The container: what runs in the three processes


def write(line: str) -> None:
    """Appends a line to the book in one piece. What was written stays there, however the process ends."""
    book = os.open(os.environ[BOOK], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(book, f"{line}\n".encode())
    finally:
        os.close(book)


@contextlib.asynccontextmanager
async def lifespan(server: ContainerServer) -> AsyncIterator[None]:
    """Writes the counters when everything has ended."""
    yield
    told = server.statistics()
    write(f"ended {told.received} {told.replied} {told.refused} {told.failed + told.cancelled + told.in_flight}")


server = ContainerServer(lifespan=lifespan)


@server.function
async def work(seconds: float, request: RequestContext) -> tuple[UUID, int]:
    """Takes its time; returns under which id it was asked, and which process has done it."""
    write(f"ran {request.request_id}")
    await asyncio.sleep(seconds)
    return request.request_id, os.getpid()


# The node


class Container:
    """One container: a process, and after each restart another one on the same port."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.remote_id = uuid4()
        self.restarts = 0
        self.issued: set[UUID] = set()
        self.answered: list[UUID] = []
        self.failed: list[tuple[UUID, Exception]] = []
        self.carried_over = 0
        """Calls that were made before a successor was started, and that it has answered."""
        self.longest_pause = 0.0
        """Seconds between two answers."""
        self._answered_at = 0.0
        self._progress = asyncio.Event()
        self.book = folder / name
        self.process = ContainerProcess(
            "rollout:server", folder=Path(__file__).parent, env={BOOK: str(self.book)}, name=name
        )

    async def start(self) -> None:
        """Starts a process, and waits until it serves."""
        deadline = time.monotonic() + 5.0
        while True:
            try:
                return await asyncio.to_thread(self.process.start)
            except StartFailed:
                # While nobody listens on the port, a passing connection may have it for a moment.
                if self.restarts == 0 or time.monotonic() > deadline:
                    raise

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end of the process; returns its exit code."""
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, PATIENCE)

    def ended(self, request_id: UUID, error: Exception | None = None) -> None:
        """A call was answered, or has failed."""
        now = time.monotonic()
        if error is not None:
            self.failed.append((request_id, error))
        else:
            if self.answered:
                self.longest_pause = max(self.longest_pause, now - self._answered_at)
            self.answered.append(request_id)
            self._answered_at = now
        self._progress.set()

    async def answer(self, count: int) -> None:
        """Waits until so many calls more have ended."""
        goal = len(self.answered) + len(self.failed) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.answered) + len(self.failed) < goal:
                self._progress.clear()
                await self._progress.wait()


async def keep_calling(
    container: Container, service: EngineService, dice: random.Random, enough: asyncio.Event
) -> None:
    """Makes one call after the other, most of them short."""
    while not enough.is_set():
        request_id, pid = uuid4(), container.process.pid
        seconds = dice.choice((0.0, 0.001, 0.005, 0.02, 0.3))
        container.issued.add(request_id)
        try:
            told, by = await service.call(container.remote_id, "work", seconds, request_id=request_id)
        except MpzmqError as error:
            container.ended(request_id, error)
        else:
            container.ended(told)
            container.carried_over += by != pid


async def restart(container: Container, service: EngineService, number: signal.Signals) -> list[str]:
    """Ends a container, starts its successor, and sees it ALIVE; returns what was not as it should be."""
    events = service.events(container.remote_id)
    told, pid = time.monotonic(), container.process.pid
    code = await container.end(number)
    ended = time.monotonic()
    container.restarts += 1
    await container.start()
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, LinkUp) and event.reconnected:
                break
    print(
        f"{container.name}: process {pid} ended after {1000 * (ended - told):.0f} ms;"
        f" process {container.process.pid} ALIVE after {1000 * (time.monotonic() - ended):.0f} ms more",
        flush=True,
    )
    return [f"{container.name}: process {pid} ended with exit code {code}"] if code else []


async def roll_out(
    containers: list[Container], service: EngineService, rounds: int, callers: int, number: signal.Signals
) -> list[str]:
    """Restarts every container in turn while calls go on; returns what was not as it should be."""
    dice = random.Random()
    enough = asyncio.Event()
    calling = [
        asyncio.create_task(keep_calling(container, service, dice, enough))
        for container in containers
        for _ in range(callers)
    ]
    faults: list[str] = []
    try:
        for _ in range(rounds):
            for container in containers:
                await asyncio.gather(*(one.answer(BETWEEN) for one in containers))
                faults += await restart(container, service, number)
        await asyncio.gather(*(one.answer(BETWEEN) for one in containers))
    finally:
        enough.set()
        ended, hanging = await asyncio.wait(calling, timeout=PATIENCE)
        for caller in hanging:
            caller.cancel()
    for caller in ended:
        caller.result()  # raises what should not have happened
    return [*faults, f"{len(hanging)} callers did not come to an end"] if hanging else faults


async def run(rounds: int, callers: int, number: signal.Signals) -> int:
    """Plays the whole story; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as processes:
        containers = [Container(name, Path(folder)) for name in NAMES]
        async with ComputerEngineWorker().with_reconnect_interval(100) as worker:  # milliseconds
            engines = []
            for container in containers:
                processes.callback(container.process.stop)
                await container.start()
                engines.append(
                    await worker.connect(container.remote_id, container.process.endpoint, name=container.name)
                )
            service = worker.service(timeout=PATIENCE, idempotent=False, wait=True)
            faults = await roll_out(containers, service, rounds, callers, number)
        # The counters of the last processes are written when they end.
        await asyncio.gather(*(container.end(signal.SIGTERM) for container in containers))
        for container, engine in zip(containers, engines, strict=True):
            faults += [f"{container.name}: {fault}" for fault in check(container, engine)]
    report(containers)
    for fault in faults[:20]:
        print(fault, file=sys.stderr)
    if faults:
        print(f"{len(faults)} things are not as promised", file=sys.stderr)
        return 1
    print("every call was answered, and every one ran exactly once")
    return 0


# The verdict


def check(container: Container, engine: ComputerEngineWriter) -> list[str]:
    """What was not as promised."""
    ran: Counter[UUID] = Counter()
    processes: list[list[int]] = []
    for line in container.book.read_text("utf-8").splitlines():
        word, *facts = line.split()
        if word == "ran":
            ran[UUID(facts[0])] += 1
        else:
            processes.append([int(fact) for fact in facts])
    issued, answered = container.issued, container.answered
    faults = [
        f"request {request_id} failed, and {'ran' if request_id in ran else 'did not run'}: {error!r}"
        for request_id, error in container.failed
    ]
    faults += [f"request {request_id} ran {times} times" for request_id, times in ran.items() if times > 1]
    faults += [f"request {request_id} was answered, but never ran" for request_id in answered if request_id not in ran]
    if Counter([*answered, *(request_id for request_id, _ in container.failed)]) != Counter(issued):
        faults.append(f"{len(issued)} requests were issued, {len(answered)} answered, {len(container.failed)} failed")

    counted = engine.statistics()
    told = (counted.issued, counted.replied, counted.failed, counted.cancelled, counted.in_flight)
    if told != (len(issued), len(answered), len(container.failed), 0, 0):
        faults.append(f"the counters of its link are wrong: {counted}")
    # What a draining process refused, its successor has received once more.
    received, replied, refused, otherwise = map(sum, zip([0] * 4, *processes, strict=True))
    if (len(processes), received, otherwise) != (container.restarts + 1, replied + refused, 0):
        faults.append(f"the counters of its processes do not add up: {processes}")
    if replied != len(answered):
        faults.append(f"its processes counted {replied} replies, and {len(answered)} calls were answered")
    return faults


def report(containers: list[Container]) -> None:
    """One line for each container."""
    print(f"\n{'container':<10}{'restarts':>10}{'answered':>10}{'carried over':>14}{'longest pause':>15}")
    for one in containers:
        pause = f"{one.longest_pause:.2f} s"
        print(f"{one.name:<10}{one.restarts:>10}{len(one.answered):>10}{one.carried_over:>14}{pause:>15}")
    print()


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Restarts containers one after the other while they are called.")
    parser.add_argument("--rounds", type=int, default=1, help="restarts of each container (default: %(default)s)")
    parser.add_argument("--callers", type=int, default=20, help="for each container (default: %(default)s)")
    parser.add_argument("--kill", action="store_true", help="SIGKILL in place of SIGTERM, to see the verdict fail")
    args = parser.parse_args()
    number = signal.SIGKILL if args.kill else signal.SIGTERM
    try:
        return asyncio.run(run(args.rounds, args.callers, number))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
