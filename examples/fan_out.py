"""One question to many containers: answers as they come, and what became of those that did not answer."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import Counter
from typing import Any

from mpzmq import ComputerEngineWorker, ComputerEngineWriter, ContainerServer, RequestError


def make(number: int) -> ContainerServer:
    """A container. Number 1 fails, number 2 takes too long."""
    server = ContainerServer(name=f"node-{number}")

    @server.function
    async def weigh(load: int) -> int:
        if number == 1:
            raise ValueError("the scales are broken")
        await asyncio.sleep(60.0 if number == 2 else 0.0)
        return load * number

    return server


async def ask(container: ComputerEngineWriter, timeout: float) -> tuple[str, Any]:
    """One container's answer, or its error: neither ends the others."""
    try:
        return container.name, await container.call("weigh", 10, timeout=timeout)
    except RequestError as error:
        return container.name, error


async def main(count: int, timeout: float) -> None:
    outcomes: Counter[str] = Counter()
    async with contextlib.AsyncExitStack() as stack:
        addresses = []
        for number in range(count):
            server = await stack.enter_async_context(make(number))
            addresses.append(await server.bind("tcp://127.0.0.1:0"))
        addresses.append("tcp://127.0.0.1:1")  # nobody is there

        worker = await stack.enter_async_context(ComputerEngineWorker())
        # wait=False: who is away does not hold up the others.
        containers = [
            await worker.connect(address, name=f"node-{number}", wait=False) for number, address in enumerate(addresses)
        ]
        for answered in asyncio.as_completed([ask(container, timeout) for container in containers]):
            name, outcome = await answered
            if isinstance(outcome, RequestError):
                outcomes[type(outcome).__name__] += 1
                print(f"{name}: {type(outcome).__name__}, executed {outcome.executed}")
            else:
                outcomes["answered"] += 1
                print(f"{name}: {outcome}")
    print(", ".join(f"{count} {what}" for what, count in sorted(outcomes.items())))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5, help="containers, besides one that is not there (default: 5)")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds for each answer (default: 1)")
    options = parser.parse_args()
    asyncio.run(main(options.count, options.timeout))
