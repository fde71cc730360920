"""What HTTP costs: ``python -m bench.gateway``.

A container, a server of HTTP and a client that only writes and reads bytes are a process each. The same function is
called over HTTP through the gateway, over mpzmq without it, and over HTTP from a bare application of uvicorn, which
answers the same bytes. All keep as many calls under way. Where the processes can be pinned, the server of HTTP has a
processor for itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from mpzmq import ComputerEngineWorker, ContainerServer

from .peers.base import cpu_and_memory, loop_factory
from .processes import serve_until_ended

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from mpzmq.asgi.types import Receive, Scope, Send

__all__ = ["Rate", "main"]

ARGUMENTS = b"[1,2]"
ANSWER = b'{"result":3}'
REQUEST = (
    b"POST /call/add HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n"
    + ARGUMENTS
)
WARM_UP = 0.3
TARGET = 2000
"""Calls a second through the gateway, on one processor."""


class Rate(NamedTuple):
    """What one measurement saw: calls a second, and calls for each CPU second of the process in the middle.

    The process in the middle is the server of HTTP; of mpzmq alone it is the engine.
    """

    calls: float
    for_each_cpu_second: float


# The processes


def serve_container() -> None:
    """A container that adds."""
    server = ContainerServer(name="bench")

    @server.function
    def add(a: int, b: int) -> int:
        return a + b

    serve_until_ended(lambda ready: server.run("tcp://127.0.0.1:0", on_bound=lambda endpoint: ready([endpoint])))


def serve_http(endpoint: str | None) -> None:
    """Uvicorn with the gateway of a container; without an endpoint, with a bare application."""
    import socket

    import uvicorn

    from mpzmq.asgi import gateway

    app: Any = bare if endpoint is None else gateway(endpoint, allow=["add"])
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="auto")

    async def serve() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
            print(json.dumps([f"127.0.0.1:{sock.getsockname()[1]}"]), flush=True)
            await uvicorn.Server(config).serve(sockets=[sock])

    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(serve())


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads a request, and answers the same bytes as the gateway."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    headers += [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


class _Connection(asyncio.Protocol):
    """One request after the other on one connection."""

    def __init__(self, counted: list[int], failed: asyncio.Future[None]) -> None:
        self._counted = counted
        self._failed = failed
        self._data = b""
        self._transport: Any

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._data.endswith(ANSWER):
            return
        if not self._data.startswith(b"HTTP/1.1 200 "):
            self._fail(f"answered with {self._data[:60]!r}")
        self._data = b""
        self._counted[0] += 1
        self._transport.write(REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection was closed")

    def _fail(self, text: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(RuntimeError(text))


async def _counting(counted: list[int], seconds: float, pid: int | str) -> Rate:
    await asyncio.sleep(min(WARM_UP, seconds))
    before, began, cpu = counted[0], time.perf_counter(), cpu_and_memory(pid)[0]
    await asyncio.sleep(seconds)
    calls, took = counted[0] - before, time.perf_counter() - began
    return Rate(calls / took, calls / (cpu_and_memory(pid)[0] - cpu))


async def ask_over_http(address: str, pid: int, connections: int, seconds: float) -> Rate:
    """Keeps a call under way on each connection, and counts."""
    loop = asyncio.get_running_loop()
    counted, failed = [0], loop.create_future()
    host, port = address.split(":")
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(counted, failed), host, int(port))
    counting = asyncio.create_task(_counting(counted, seconds, pid))
    await asyncio.wait((counting, failed), return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        counting.cancel()
        failed.result()
    failed.cancel()
    return await counting


async def ask_directly(endpoint: str, connections: int, seconds: float) -> Rate:
    """The same over mpzmq: so many tasks, each with one call after the other."""
    counted = [0]
    async with ComputerEngineWorker() as worker:
        container = await worker.connect(endpoint)

        async def ask() -> None:
            while True:
                await container.call("add", 1, 2)
                counted[0] += 1

        tasks = [asyncio.create_task(ask()) for _ in range(connections)]
        rate = await _counting(counted, seconds, "self")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return rate


# The measuring


@contextlib.contextmanager
def _process(*role: str, cpus: str) -> Iterator[tuple[str, int]]:
    """Starts one of the above; yields where it serves, and its pid."""
    command = [sys.executable, "-m", "bench.gateway", *role, "--cpus", cpus]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{role[0]} did not start")
            yield json.loads(line)[0], process.pid
        finally:
            process.terminate()


def _client(*role: str, cpus: str) -> Rate:
    command = [sys.executable, "-m", "bench.gateway", *role, "--cpus", cpus]
    return Rate(*json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))


def measure(connections: int, seconds: float) -> dict[str, Rate]:
    """One round of all three."""
    able = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    middle, others = str(able[0]), ",".join(map(str, able[1:] or able))
    load = ["--connections", str(connections), "--seconds", str(seconds)]
    rates = {}
    with _process("container", cpus=others) as (endpoint, _):
        rates["mpzmq alone"] = _client("direct", "--address", endpoint, *load, cpus=middle)
        for what, given in (("HTTP gateway", ["--address", endpoint]), ("bare uvicorn", [])):
            with _process("http", *given, cpus=middle) as (address, pid):
                asked = ["client", "--address", address, "--pid", str(pid), *load]
                rates[what] = _client(*asked, cpus=others)
    return rates


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description="Measures what HTTP costs.")
    parser.add_argument("role", nargs="?", choices=["container", "http", "client", "direct"], help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--pid", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--cpus", help=argparse.SUPPRESS)
    parser.add_argument("--connections", type=int, default=32, help="calls that are always under way")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    if given.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu) for cpu in given.cpus.split(",")})

    def tell(asking: Coroutine[Any, Any, Rate]) -> None:
        with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
            print(json.dumps(runner.run(asking)))

    match given.role:
        case "container":
            serve_container()
        case "http":
            serve_http(given.address)
        case "client":
            tell(ask_over_http(given.address, given.pid, given.connections, given.seconds))
        case "direct":
            tell(ask_directly(given.address, given.connections, given.seconds))
        case _:
            rounds = [measure(given.connections, given.seconds) for _ in range(given.rounds)]
            print(f"add(1, 2), {given.connections} at a time, median of {given.rounds} rounds: calls a second, and")
            print("for each CPU second of the process in the middle")
            for what in rounds[0]:
                rates = sorted(found[what] for found in rounds)
                calls, each = rates[len(rates) // 2]
                target = f"  (target {TARGET:,})" if what == "HTTP gateway" else ""
                print(f"  {what:14} {calls:8,.0f} {each:8,.0f}{target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
