"""One large message, one way: ``python -m bench.large``. Time, memory of both sides, and small calls meanwhile.

Beside it, in the same run, plain pyzmq moves the same bytes in one message without copies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import zmq

from mpzmq import ComputerEngineWorker, ContainerServer, Limits

TIMEOUT = 300.0


def filled(size: int) -> memoryview:
    """Memory that has been written to, as an application's has."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for start in range(0, size, mmap.PAGESIZE):
        memory[start] = start // mmap.PAGESIZE % 251
    return memoryview(memory).toreadonly()


def peak() -> int:
    """The most memory that this process has had, in bytes; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def sent_by_nobody(size: int) -> Limits:
    """Limits that let one message of this size through."""
    return Limits(message_bytes=size + 1024 * 1024)


def serve(size: int) -> None:
    """A container that takes and gives large data."""
    server = ContainerServer(name="large", limits=sent_by_nobody(size))
    given: list[memoryview] = []

    @server.function(thread=True)
    def fill() -> None:
        given[:] = [filled(size)]

    @server.function
    def take(data: Any) -> int:
        return len(data)

    @server.function
    def give() -> memoryview:
        return given[0]

    @server.function
    def small() -> int:
        return peak()

    async def main() -> None:
        async with server:
            print(await server.bind("tcp://127.0.0.1:0"), flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(main())


def serve_plain() -> None:
    """A ROUTER that takes messages and answers each with one byte; or gives one back, if asked for."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.MAXMSGSIZE, -1)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        print(f"tcp://127.0.0.1:{port}", flush=True)
        data = None
        while True:
            route, frame = socket.recv_multipart(copy=False)
            word = bytes(frame.buffer[:16])
            if word == b"end":
                return
            if word.startswith(b"fill"):
                data = filled(int(word[4:]))
            send = data if word == b"give" else b"."
            assert send is not None
            del frame
            socket.send_multipart([route, send], copy=False)


def plain(size: int) -> dict[str, Any]:
    """Seconds for one message of that size, in each direction."""
    with start("--serve-plain", size) as process, zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        assert process.stdout is not None
        socket.set(zmq.LINGER, 0)
        socket.connect(process.stdout.readline().strip())
        data = filled(size)
        socket.send(b"fill%d" % size)
        socket.recv()
        began = time.perf_counter()
        socket.send(data, copy=False)
        socket.recv(copy=False)
        up = time.perf_counter() - began
        began = time.perf_counter()
        socket.send(b"give")
        frame = socket.recv(copy=False)
        down = time.perf_counter() - began
        assert len(frame) == size
        socket.send(b"end")
    return {"up": up, "down": down}


async def ours(address: str, size: int, quiet: bool) -> dict[str, Any]:
    """The same for mpzmq, once, with the latencies of small calls meanwhile, and what both sides took of memory."""
    found: dict[str, Any] = {"small": []}
    async with ComputerEngineWorker(limits=sent_by_nobody(size)) as worker:
        container = await worker.connect(uuid4(), address)

        async def small() -> None:
            while True:
                began = time.perf_counter()
                await container.call("small")
                found["small"].append(time.perf_counter() - began)
                await asyncio.sleep(0.002)

        data = filled(size)
        found["engine before"], found["container before"] = peak(), await container.call("small")
        asking = None if quiet else asyncio.create_task(small())
        began = time.perf_counter()
        assert await container.call("take", data, timeout=TIMEOUT) == size
        found["up"] = time.perf_counter() - began
        if asking is not None:
            asking.cancel()
        found["engine sent"], found["container received"] = peak(), await container.call("small")
        del data
        await container.call("fill", timeout=TIMEOUT)
        asking = None if quiet else asyncio.create_task(small())
        began = time.perf_counter()
        received = await container.call("give", timeout=TIMEOUT)
        found["down"] = time.perf_counter() - began
        assert len(received) == size
        if asking is not None:
            asking.cancel()
        found["engine received"], found["container sent"] = peak(), await container.call("small")
    return found


def start(role: str, size: int, *more: str) -> subprocess.Popen[str]:
    """A process for one of the roles."""
    command = [sys.executable, "-m", "bench.large", role, "--size", str(size), *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measured(role: str, size: int, *more: str) -> dict[str, Any]:
    """What the process of one role has measured."""
    with start(role, size, *more) as process:
        said, _ = process.communicate(timeout=TIMEOUT)
    found: dict[str, Any] = json.loads(said)
    return found


def in_turns(size: int, rounds: int, *more: str) -> None:
    """Both, round by round, each time in new processes."""
    latencies: list[float] = []
    ratios: dict[str, list[float]] = {"up": [], "down": []}
    for number in range(rounds):
        roles = ("--plain", "--ours") if number % 2 else ("--ours", "--plain")
        by_role = {role: measured(role, size, *more) for role in roles}
        mine, bare = by_role["--ours"], by_role["--plain"]
        latencies += mine["small"]
        line = []
        for way in ("up", "down"):
            ratios[way].append(bare[way] / mine[way])
            line.append(f"{way}: {size / mine[way] / 2**30:.2f} GiB/s, plain {size / bare[way] / 2**30:.2f}")
        print(", ".join(line))
        grown = [
            f"{name} {(mine[name] - mine[before]) / 2**20:+.0f}"
            for name, before in (
                ("engine sent", "engine before"),
                ("container received", "container before"),
                ("engine received", "engine sent"),
                ("container sent", "container received"),
            )
        ]
        print(f"   growth of the peaks in MiB: {', '.join(grown)}; peaks: {mine['engine received'] / 2**20:.0f} and"
              f" {mine['container sent'] / 2**20:.0f}")  # fmt: skip
    for way, found in ratios.items():
        print(f"{way}: {statistics.median(found):.2f} of plain pyzmq (median of {rounds} rounds)")
    if latencies:
        latencies.sort()
        shares = {share: latencies[int(share * (len(latencies) - 1))] for share in (0.5, 0.99, 1.0)}
        told = ", ".join(f"{share:.0%} within {1000 * latency:.1f} ms" for share, latency in shares.items())
        print(f"{len(latencies)} small calls meanwhile: {told}")


def main() -> None:
    """Runs one of the roles, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2**30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quiet", action="store_true", help="no small calls meanwhile")
    for role in ("--serve", "--serve-plain", "--ours", "--plain"):
        parser.add_argument(role, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.size)
    elif options.serve_plain:
        serve_plain()
    elif options.plain:
        print(json.dumps(plain(options.size)))
    elif options.ours:
        with start("--serve", options.size) as process:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            print(json.dumps(asyncio.run(ours(address, options.size, options.quiet))))
            process.communicate()
    else:
        in_turns(options.size, options.rounds, *(["--quiet"] if options.quiet else []))


if __name__ == "__main__":
    main()
