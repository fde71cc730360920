"""One engine, one container, and a network between them that is cut and healed."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from mpzmq import ComputerEngineWorker, LinkDown, LinkUp

from .engine import Job, Watch, ask
from .history import EngineLog, check, check_worker, read_container, read_engine
from .netns import Net
from .place import container_process

if TYPE_CHECKING:
    from mpzmq import HeartbeatPolicy, ReconnectPolicy
    from mpzmq.statistics import Statistics

    from .history import Violation

__all__ = ["WAYS", "Partition", "Ticket", "partitioned"]

Ticket = Literal["silent", "to the container", "to the engine"]
WAYS: tuple[Ticket, ...] = ("silent", "to the container", "to the engine")

ANSWERS = 60.0
"""Seconds after the heal in which everything has to be over."""


@dataclass(slots=True)
class Partition:
    """What a partition did.

    Attributes:
        detected: seconds from the cut to LinkDown; None: there was none.
        up: seconds from the heal to LinkUp, where there was a LinkDown.
        recovered: seconds from the heal to the first answer.
        outcomes: how the requests ended, those that were under way at the cut, or issued until the heal.
        violations: broken promises.
    """

    detected: float | None = None
    up: float | None = None
    recovered: float = 0.0
    outcomes: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)


def partitioned(way: Ticket, length: float, heartbeat: HeartbeatPolicy, reconnect: ReconnectPolicy) -> Partition:
    """Cuts the network for some seconds, with requests under way. Blocks; makes an event loop of its own."""
    with tempfile.TemporaryDirectory() as name, Net() as net, net.inside("engine"):
        folder = Path(name)
        process = container_process(folder / "container", heartbeat, endpoint=f"tcp://{net.address}:0")
        try:
            net.started_on("container", process.start)
            log = EngineLog(folder / "engine")
            found, counted = asyncio.run(_cut_and_healed(net, process.endpoint, log, way, length, heartbeat, reconnect))
        finally:
            process.stop()
        requests = read_engine(folder / "engine")
        found.outcomes = [request.error or str(request.outcome) for request in requests]
        found.violations += check(requests, read_container(folder / "container").runs)
        found.violations += check_worker(counted, requests)
        return found


async def _cut_and_healed(
    net: Net,
    endpoint: str,
    log: EngineLog,
    way: Ticket,
    length: float,
    heartbeat: HeartbeatPolicy,
    reconnect: ReconnectPolicy,
) -> tuple[Partition, Statistics]:
    found = Partition()
    async with ComputerEngineWorker(reconnect=reconnect, heartbeat=heartbeat) as worker:
        container = await worker.connect(uuid4(), endpoint)
        watch = Watch(worker)

        async def one(seconds: float, *, idempotent: bool) -> None:
            job = Job("slow", (seconds, "x"), "x")
            request = await ask(log, container, job, timeout=length + ANSWERS, idempotent=idempotent)
            if request.outcome == "replied":
                watch.answered(container.remote_id)

        await one(0.0, idempotent=False)
        async with asyncio.TaskGroup() as asking:
            for number in range(10):
                asking.create_task(one(0.1 * number, idempotent=number % 2 == 0))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            if way == "silent":
                net.cut()
            else:
                net.deafen("container" if way == "to the container" else "engine")
            for number in range(10):
                asking.create_task(one(0.0, idempotent=number % 2 == 0))
                await asyncio.sleep(length / 10)
            net.heal()
            healed = time.monotonic()
            down = watch.first(container.remote_id, LinkDown, began)
            found.detected = None if down is None else down - began
            found.recovered = await watch.next_answer(container.remote_id, healed, ANSWERS) - healed
        # The verdict may have come after the heal, from what was on its way before.
        down = watch.first(container.remote_id, LinkDown, began)
        if down is not None:
            found.detected = down - began
            found.up = await watch.wait_for(container.remote_id, LinkUp, down, ANSWERS) - healed
        await worker.close()
        await watch.close()
        log.close()
        return found, worker.service().statistics()
