"""Three containers that do the same: one is slow, one is restarted, one is killed, and every outcome is counted.

    python examples/replicas.py [--calls 200] [--callers 20]

Each container is a process of its own; the group asks whoever has the least to do. First nothing happens. Then one
takes 50 ms more for everything than the others. Then another one gets SIGTERM, ends what it has begun, and a successor
starts on its port. Then one gets SIGKILL. The callers never stop, with ``idempotent=False``: nothing may run twice.

Each container writes the number of every call that it begins to a file, before anything else.

Exit code 0: everything was as promised. 1: the details are on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from mpzmq import ComputerEngineWorker, ConnectionLost, ContainerServer, Endpoint, Group, GroupPolicy, RequestError
from mpzmq.testing import ContainerProcess

NAMES = ("red", "green", "blue")
BOOK, NAME = "REPLICAS_BOOK", "REPLICAS_NAME"
"""Environment variables that tell a container where to write, and what it is called."""
PATIENCE = 30.0
"""Seconds after which something that has to happen has not."""

# The container: what runs in the three processes

server = ContainerServer()
pause = 0.002


@server.function
async def work(number: int) -> str:
    """Takes its time; returns who has done it."""
    book = os.open(os.environ[BOOK], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(book, f"{number}\n".encode())
    os.close(book)
    await asyncio.sleep(pause)
    return os.environ[NAME]


@server.function
def slow_down(seconds: float) -> None:
    """Takes so much longer from now on."""
    global pause
    pause += seconds


# The engine


class Load:
    """Callers that never stop, and what became of each call."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.numbers = itertools.count()
        self.issued: list[int] = []
        self.answered: dict[int, str] = {}
        self.failed: dict[int, RequestError] = {}
        self.enough = False
        self.progress = asyncio.Event()

    async def keep_calling(self) -> None:
        """One call after the other."""
        while not self.enough:
            number = next(self.numbers)
            self.issued.append(number)
            try:
                self.answered[number] = await self.group.call("work", number, timeout=PATIENCE)
            except RequestError as error:
                self.failed[number] = error
            self.progress.set()

    async def answers(self, count: int) -> Counter[str]:
        """Waits for so many more answers; returns how many came from each."""
        before = set(self.answered)
        async with asyncio.timeout(PATIENCE):
            while len(self.answered) < len(before) + count:
                self.progress.clear()
                await self.progress.wait()
        return Counter(name for number, name in self.answered.items() if number not in before)


async def play(group: Group, processes: dict[str, ContainerProcess], load: Load, calls: int) -> None:
    """What happens to the containers, and what the callers see of it."""

    async def show(what: str) -> None:
        failed = len(load.failed)
        shares = await load.answers(calls)
        told = "  ".join(f"{name} {100 * shares[name] / shares.total():3.0f} %" for name in NAMES)
        print(f"{what:<20} {told}   failed {len(load.failed) - failed}", flush=True)

    await show("all are well")
    await group.handle("red").call("slow_down", 0.05)
    await show("red is slow")
    restarted = asyncio.create_task(asyncio.to_thread(processes["green"].restart))
    await show("green is restarted")
    await restarted
    await group.wait_ready(3)
    processes["blue"].kill()
    await show("blue is killed")


def check(load: Load, ran: Counter[int], callers: int) -> list[str]:
    """What is not as promised."""
    faults = [f"call {number} ran {times} times" for number, times in ran.items() if times > 1]
    faults += [f"call {number} was answered, and never ran" for number in load.answered if not ran[number]]
    for number, error in load.failed.items():
        tried = [attempt.member.name for attempt in error.tried]
        if not isinstance(error, ConnectionLost) or tried != ["blue"]:
            faults.append(f"call {number} failed, though it was not on the one that was killed: {error!r}, {tried}")
    if len(load.failed) > callers:
        faults.append(f"{len(load.failed)} calls failed, and only {callers} were under way")
    counted = load.group.statistics()
    told = (counted.issued, counted.replied, counted.failed, counted.in_flight)
    if told != (len(load.issued), len(load.answered), len(load.failed), 0):
        faults.append(f"the counters do not add up: {counted}")
    return faults


async def run(calls: int, callers: int) -> int:
    """Plays the whole story; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        processes = {
            name: ContainerProcess(
                "replicas:server",
                folder=Path(__file__).parent,
                env={BOOK: str(Path(folder) / name), NAME: name},
                name=name,
            )
            for name in NAMES
        }
        for process in processes.values():
            stack.callback(process.stop)
        await asyncio.gather(*(asyncio.to_thread(process.start) for process in processes.values()))
        members = [Endpoint(process.endpoint, name=name) for name, process in processes.items()]
        async with (
            ComputerEngineWorker().with_reconnect_interval(100) as worker,  # milliseconds
            worker.group(members, name="replicas", policy=GroupPolicy(lost_after=1.0)) as group,
        ):
            await group.wait_ready(3)
            load = Load(group)
            calling = [asyncio.create_task(load.keep_calling()) for _ in range(callers)]
            try:
                await play(group, processes, load, calls)
            finally:
                load.enough = True
                await asyncio.wait_for(asyncio.gather(*calling), PATIENCE)
        books = (Path(folder) / name for name in NAMES)
        ran = Counter(int(line) for book in books for line in book.read_text("utf-8").splitlines())
    faults = check(load, ran, callers)
    for fault in faults[:20]:
        print(fault, file=sys.stderr)
    if faults:
        print(f"{len(faults)} things are not as promised", file=sys.stderr)
        return 1
    told = f"{len(load.answered)} of {len(load.issued)} calls answered, {len(load.failed)} lost with blue"
    print(f"\n{told}, none ran twice")
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Slows down, restarts and kills containers of a group under load.")
    parser.add_argument("--calls", type=int, default=200, help="answers in each part (default: %(default)s)")
    parser.add_argument("--callers", type=int, default=20, help="how many call (default: %(default)s)")
    args = parser.parse_args()
    try:
        return asyncio.run(run(args.calls, args.callers))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
