"""What is said of calls between Python and the example in Node: ``python -m tests.chaos --node 20000``.

A client calls a function that writes its number into a journal, before anything else. In the middle the container is
killed and started again, later it drains and is started again. Then what the client was told of each call is compared
with the journal.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpzmq import ComputerEngineWorker, RequestError
from tests.support import ROOT
from tests.support.node import Served
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import scaled, soon

if TYPE_CHECKING:
    from collections.abc import Callable

    Tell = Callable[["Told"], None]

__all__ = ["PAIRS", "WIDTH", "Told", "Truth", "compared", "truth"]

HERE = Path(__file__).parent
ERRORS = ("failed", "ConnectionLost", "ContainerDraining")
WIDTH = 100
"""Calls at a time."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the client was told of a call: ``"answered"`` or the class of its error, and NO, UNKNOWN or YES."""

    number: int
    outcome: str
    executed: str


@dataclass(frozen=True, slots=True)
class Truth:
    """What became of all calls.

    Attributes:
        told: how many were answered, and of the others what was said of them.
        untruthful: what was told and is not so.
        drained: the exit code of the container that drained.
    """

    told: Counter[str]
    untruthful: list[str]
    drained: int


def compared(calls: int, told: list[Told], ran: Counter[int]) -> list[str]:
    """What was told and is not so, as texts; nothing, if all is well."""
    times = Counter(one.number for one in told)
    wrong = [f"call {number} ended {times[number]} times" for number in range(calls) if times[number] != 1]
    wrong += [f"call {number} ran {ran[number]} times" for number in ran if ran[number] > 1]
    for one in told:
        if one.outcome not in ("answered", *ERRORS):
            wrong.append(f"call {one.number} ended as {one.outcome}")
        elif one.executed == "NO" and ran[one.number]:
            wrong.append(f"call {one.number} ran, and NO was told")
        elif one.executed == "YES" and not ran[one.number]:
            wrong.append(f"call {one.number} did not run, and YES was told")
    return wrong


async def python_calls(endpoint: str, calls: int, journal: Path, example: Path, tell: Tell) -> None:
    """Our engine."""
    numbers = iter(range(calls))
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(endpoint)

        async def caller() -> None:
            for number in numbers:
                try:
                    value = await container.call("note", number, str(journal), seconds(number), timeout=30.0)
                    tell(Told(number, "answered" if value == number else "wrong", "YES"))
                except RequestError as error:
                    tell(Told(number, type(error).__name__, error.executed.name))

        async with asyncio.TaskGroup() as group:
            for _ in range(WIDTH):
                group.create_task(caller())


async def node_calls(endpoint: str, calls: int, journal: Path, example: Path, tell: Tell) -> None:
    """The client of the example."""
    arguments = [str(HERE / "node_client.mjs"), str(example), endpoint, str(calls), str(journal), str(WIDTH)]
    process = await asyncio.create_subprocess_exec("node", *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            tell(Told(*json.loads(line)))
        assert await soon(process.wait()) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


def seconds(number: int) -> float:
    """How long a call takes: one of ten so long that STARTED is sent."""
    return 0.02 if number % 10 else 0.2


def python_serves(example: Path) -> list[str]:
    return [sys.executable, "-m", "mpzmq", "serve", "--log-level", "error", "tests.support.container:quick", "--bind"]


def node_serves(example: Path) -> list[str]:
    return ["node", str(HERE / "node_container.mjs"), str(example)]


PAIRS = {
    "Python calls Node": (python_calls, node_serves),
    "Node calls Python": (node_calls, python_serves),
    "Node calls Node": (node_calls, node_serves),
}


async def truth(pair: str, calls: int, folder: Path, example: Path) -> Truth:
    """Calls, a kill and a drain."""
    asks, serves = PAIRS[pair]
    journal = folder / "ran"
    ends: asyncio.Queue[Told] = asyncio.Queue()
    told: list[Told] = []
    async with Served(serves(example), ROOT) as served, asyncio.TaskGroup() as group:
        asking = group.create_task(asks(served.endpoint, calls, journal, example, ends.put_nowait))

        async def some(number: int) -> None:
            for _ in range(number):
                told.append(await soon(ends.get(), scaled(30.0)))

        await some(calls // 3)
        await served.end(signal.SIGKILL)
        await served.start()
        await some(calls // 3)
        drained = await served.end(signal.SIGTERM)
        await served.start()
        await some(calls - len(told))
        await asking
    told += [ends.get_nowait() for _ in range(ends.qsize())]
    ran = Counter(int(line) for line in journal.read_text().split())
    counted = Counter("answered" if one.outcome == "answered" else one.executed for one in told)
    return Truth(counted, compared(calls, told, ran), drained)
