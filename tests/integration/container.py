"""A container in a process of its own: prints its endpoint, ends with its parent, and by SIGTERM as `run()` does."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time

import mpzmq

heartbeat = mpzmq.HeartbeatPolicy(interval=0.3, down_after=0.9)
server = mpzmq.ContainerServer(name="process", heartbeat=heartbeat)
calls: list[str] = []


@server.on_invoke
async def echo(data: object) -> object:
    return data


@server.function
def block(seconds: float) -> str:
    """Holds the event loop."""
    time.sleep(seconds)
    return "done"


@server.function
async def slow(seconds: float, word: str = "done") -> str:
    calls.append(word)
    await asyncio.sleep(seconds)
    return word


@server.function
def seen() -> list[str]:
    return calls


@server.function
def pid() -> int:
    return os.getpid()


def end_with_parent() -> None:
    """The parent holds the other end of standard input: when it dies, however it dies, so does this."""
    # Not through sys.stdin: a daemon thread that holds its lock aborts the interpreter when it ends.
    while os.read(0, 1):
        pass
    os._exit(9)


async def announced(endpoint: str) -> None:
    async with server:
        sys.stdout.write(await server.bind(endpoint) + "\n")
        sys.stdout.flush()
        await server.serve_forever(handle_signals=True)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    wanted = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:0"
    if len(sys.argv) > 2:  # the seed's way: blocking, on a port that the caller knows
        server.run(wanted, drain_timeout=float(sys.argv[2]), loop="asyncio")
    else:
        asyncio.run(announced(wanted))
