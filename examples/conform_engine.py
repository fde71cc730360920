"""The engine that ``mpzmq conformance --listen`` judges: it does what it is asked to, and reports what came of it.

    mpzmq conformance --listen 127.0.0.1:3010
    python examples/conform_engine.py 127.0.0.1:3010

One connection leads to the judge itself: there ``next`` gives something to do, and ``report`` takes what came of it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from mpzmq import ComputerEngineWorker, ComputerEngineWriter, RequestError


async def run(endpoint: str) -> None:
    """Asks the judge what to do until it says that this is all."""
    async with ComputerEngineWorker() as worker, asyncio.TaskGroup() as under_way:
        judge = await worker.connect(endpoint)
        containers: dict[str, ComputerEngineWriter] = {}
        while (job := await judge.call("next", timeout=None)) is not None:
            where = job["endpoint"]
            if where not in containers:
                containers[where] = await worker.connect(where, wait=False)
            under_way.create_task(perform(judge, containers[where], job))


async def perform(judge: ComputerEngineWriter, container: ComputerEngineWriter, job: dict[str, Any]) -> None:
    """Does one thing, as often as it is asked for, and reports what came of each."""
    outcomes = await asyncio.gather(*(outcome(container, job) for _ in range(job["times"])))
    await judge.call("report", job["id"], outcomes)


async def outcome(container: ComputerEngineWriter, job: dict[str, Any]) -> dict[str, Any]:
    """A value; or the text of an error, and whether it has run."""
    try:
        match job["do"]:
            case "call":
                return {"value": await container.call(job["function"], *job["args"], timeout=job["timeout"])}
            case "stream":
                stream = container.stream(job["function"], *job["args"], timeout=job["timeout"])
                return {"value": [item async for item in stream]}
            case "upload":
                return {"value": await container.upload(job["function"], job["args"][0], timeout=job["timeout"])}
        await container.disconnect()
        return {}
    except RequestError as error:
        return {"error": str(error), "executed": str(error.executed)}


def main() -> int:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description="Does what mpzmq conformance --listen asks for.")
    parser.add_argument("endpoint", nargs="?", default="127.0.0.1:3010", help="the judge's (default: %(default)s)")
    asyncio.run(run(parser.parse_args().endpoint))
    return 0


if __name__ == "__main__":
    sys.exit(main())
