"""A container in a process of its own: prints its endpoint, and ends with its parent."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time

import mpzmq

server = mpzmq.ContainerServer()
calls: list[int] = []
cancelled: list[int] = []


@server.on_invoke
async def echo(data: object) -> object:
    return data


@server.function
def block(seconds: float) -> str:
    """Holds the event loop."""
    time.sleep(seconds)
    return "done"


@server.function
def count(number: int) -> int:
    calls.append(number)
    return number


@server.function
async def slow(number: int, seconds: float) -> int:
    calls.append(number)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append(number)
        raise
    return number


@server.function
def seen() -> list[int]:
    return calls


@server.function
def was_cancelled() -> list[int]:
    return cancelled


@server.function
def running() -> int:
    """Requests that run besides this one."""
    return server.statistics().in_flight - 1


def end_with_parent() -> None:
    """The parent holds the other end of standard input: when it dies, however it dies, so does this."""
    os.read(0, 1)  # not sys.stdin: its lock, held by a daemon thread at exit, aborts the process
    os._exit(0)


async def main(endpoint: str) -> None:
    async with server:
        sys.stdout.write(await server.bind(endpoint) + "\n")
        sys.stdout.flush()
        await server.serve_forever(handle_signals=True)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:0"))
