"""An engine that runs out of file descriptors, in a process of its own: ``python -m tests.chaos.starved_engine ADDRESS``.

It writes what became of it to its standard output, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from uuid import uuid4

from mpzmq import ComputerEngineWorker, ReconnectPolicy

from .descriptors import no_more_descriptors


async def starve(address: str) -> dict[str, object]:
    """Connects, cannot connect a second time, goes on with the first link, and connects when it can."""
    told: dict[str, object] = {}
    reconnect = ReconnectPolicy(interval=0.05, connect_timeout=1.0)
    async with ComputerEngineWorker(reconnect=reconnect) as worker:
        container = await worker.connect(uuid4(), address)
        with no_more_descriptors():
            try:
                await worker.connect(uuid4(), address, timeout=3.0)
            except Exception as error:
                told["error"] = str(error)
                told["bases"] = [base.__name__ for base in type(error).__mro__]
            told["meanwhile"] = await container.call("quick", "meanwhile", timeout=5.0)
        told["links"] = len(worker.get_connected_containers())
        other = await worker.connect(uuid4(), address)
        told["after"] = [await one.call("quick", "after", timeout=5.0) for one in (container, other)]
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(starve(sys.argv[1]))))
