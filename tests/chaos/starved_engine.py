"""An engine that runs out of file descriptors, in a process of its own.

``python -m tests.chaos.starved_engine WHAT ADDRESS`` writes what became of it to its standard output, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mpzmq import ComputerEngineWorker, ConnectionLost, HeartbeatPolicy, LinkDown, ReconnectPolicy
from tests.support.waiting import scaled

from .descriptors import no_more_descriptors, only_so_many_more

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

RECONNECT = ReconnectPolicy(interval=0.05, connect_timeout=scaled(1.0))
SECONDS = scaled(5.0)


async def refused(worker: ComputerEngineWorker, address: str, starved: AbstractContextManager[None]) -> dict[str, Any]:
    """What connect() raises without descriptors."""
    with starved:
        try:
            await worker.connect(uuid4(), address, timeout=SECONDS)
        except Exception as error:
            return {"error": str(error), "bases": [base.__name__ for base in type(error).__mro__]}
    return {"error": "none", "bases": []}


async def second(address: str) -> dict[str, Any]:
    """A second connect fails, the first link goes on, and a third one succeeds when it can."""
    async with ComputerEngineWorker(reconnect=RECONNECT) as worker:
        container = await worker.connect(uuid4(), address)
        told = await refused(worker, address, no_more_descriptors())
        with no_more_descriptors():
            told["meanwhile"] = await container.call("quick", "meanwhile", timeout=SECONDS)
        told["links"] = len(worker.get_connected_containers())
        other = await worker.connect(uuid4(), address)
        told["after"] = [await one.call("quick", "after", timeout=SECONDS) for one in (container, other)]
        return told


async def first(address: str) -> dict[str, Any]:
    """The first connect of a process needs more than others: libzmq's threads."""
    errors = []
    for count in range(12):
        async with ComputerEngineWorker(reconnect=RECONNECT) as worker:
            told = await refused(worker, address, only_so_many_more(count))
            errors.append(told["error"])
            container = await worker.connect(uuid4(), address)
            told["after"] = [await container.call("quick", "after", timeout=SECONDS)]
    told["errors"] = errors
    return told


async def redial(address: str) -> dict[str, Any]:
    """A link that wants a fresh socket while there is none redials when there is one again."""
    unhandled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(str(context)))
    heartbeat = HeartbeatPolicy(interval=scaled(0.2), down_after=scaled(0.6), stuck_after=scaled(0.7))
    async with ComputerEngineWorker(reconnect=RECONNECT, heartbeat=heartbeat) as worker:
        container = await worker.connect(uuid4(), address)
        events = worker.service().events()
        blocked = asyncio.create_task(container.call("block", scaled(1.5), timeout=SECONDS))
        await asyncio.sleep(0.1)
        with no_more_descriptors():
            async with asyncio.timeout(SECONDS):
                async for event in events:
                    if isinstance(event, LinkDown):
                        break
            await asyncio.sleep(10 * RECONNECT.interval)
        after = await container.call("quick", "after", timeout=2 * SECONDS)
        with contextlib.suppress(ConnectionLost):
            await blocked
        return {"after": [after], "unhandled": unhandled}


if __name__ == "__main__":
    what = {"first": first, "second": second, "redial": redial}[sys.argv[1]]
    sys.stdout.write(json.dumps(asyncio.run(what(sys.argv[2]))))
