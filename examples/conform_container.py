"""The container that ``mpzmq conformance`` judges: what it asks a container for, written with this library.

    python examples/conform_container.py
    mpzmq conformance 127.0.0.1:3010

With port 0 the system picks a free one; the first line printed tells which. The function ``drain`` ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from mpzmq import ContainerServer, RemoteError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

server = ContainerServer(name="conform")
draining = asyncio.Event()
begun: Counter[Any] = Counter()
ended: Counter[Any] = Counter()


@server.on_invoke
def invoke(data: Any) -> Any:
    """Gives back what it gets."""
    return data


@server.function
def echo(value: Any) -> Any:
    """Gives back what it gets."""
    return value


@server.function
async def later(value: Any, seconds: float) -> Any:
    """Gives it back after a while, and keeps count of when it begins and ends."""
    begun[value] += 1
    await asyncio.sleep(seconds)
    ended[value] += 1
    return value


@server.function
def seen(value: Any) -> list[int]:
    """How often ``later`` has begun, and has ended, with this value."""
    return [begun[value], ended[value]]


@server.function
def fail(text: str) -> None:
    """Raises an error of that text."""
    raise RemoteError(text)


@server.function
def drain() -> None:
    """Begins to drain, as at SIGTERM."""
    draining.set()


@server.function
async def count(number: int, size: int = 0) -> AsyncIterator[Any]:
    """Level 4: a stream of 0, 1, 2 and so on, or of so many items of that size."""
    for item in range(number):
        yield bytes(size) if size else item


@server.function
async def total(numbers: AsyncIterator[int]) -> int:
    """Level 4: an upload of numbers; their sum."""
    return sum([number async for number in numbers])


@server.function
async def doubled(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
    """Level 4: a channel; each number twice as large, and behind the last one how many they were."""
    number_of_them = 0
    async for number in numbers:
        number_of_them += 1
        yield 2 * number
    yield number_of_them


async def serve(endpoint: str) -> None:
    """Serves until somebody calls ``drain``."""
    async with server:
        print(await server.bind(endpoint), flush=True)
        await draining.wait()
        await server.drain()


def main() -> int:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description="Serves what mpzmq conformance asks a container for.")
    parser.add_argument("endpoint", nargs="?", default="127.0.0.1:3010", help="where to serve (default: %(default)s)")
    asyncio.run(serve(parser.parse_args().endpoint))
    return 0


if __name__ == "__main__":
    sys.exit(main())
