"""Clients of an admin endpoint that mean no good, and what they cost a caller: ``python -m tests.admin.flood``.

The server, the caller and the hostile clients are processes of their own; all limits on what is sent are in this file.
"""

# ruff: noqa: T201  # a program for a terminal

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mpzmq import ComputerEngineWorker
from tests.admin.client import address_of, said
from tests.hostile.tcp import crowd
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq import ComputerEngineWriter

__all__ = ["KINDS", "attack"]

GET = b"GET /%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "garbage": lambda chance: chance.randbytes(chance.randrange(1, 20_000)),
    "letters": lambda chance: b"A" + bytes(chance.choices(b"ABCXYZ :/\r\n", k=5_000)),
    "headers": lambda chance: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Large: y\r\n" * 100_000,
    "pipeline": lambda chance: GET % chance.choice([b"status.json", b"", b"livez"]) * 200,
    "body": lambda chance: b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000),
    "status": lambda chance: GET % b"status.json",
    "page": lambda chance: GET % b"",
}


async def attack(url: str, requests: int, held: int, at_once: int = 40) -> Counter[str]:
    """Sends so many requests of every kind while connections are held open; returns what became of them by status."""
    chance = random.Random(requests)
    outcomes: Counter[str] = Counter()
    kinds = iter([list(KINDS.values())[number % len(KINDS)] for number in range(requests)])

    async def send() -> None:
        for kind in kinds:
            try:
                answer = await said(url, kind(chance))
            except OSError:
                outcomes["refused"] += 1
            else:
                outcomes["closed" if answer is None else str(answer.status)] += 1

    async with crowd(address_of(url), held) as strangers:
        for number, one in enumerate(strangers):
            await one.say([b"", b"G", b"GET / HTTP/1.1\r\n"][number % 3])
        await asyncio.gather(*(send() for _ in range(at_once)))
    return outcomes


SECONDS_ALONE = 5.0
"""For which calls are measured before they are disturbed."""

SERVER = """
from mpzmq import ContainerServer
server = ContainerServer(name="target")
@server.function
async def echo(data):
    return data
"""


async def _call(container: ComputerEngineWriter, until: Callable[[], bool]) -> tuple[list[float], int]:
    """Calls one after the other; returns how long each took, and how many failed."""
    took, failed = [], 0
    while not until():
        began = time.perf_counter()
        try:
            await container.call("echo", "x" * 100)
        except Exception:
            failed += 1
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.001)
    return sorted(took), failed


def _resident(process: int) -> int:
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    return 0


def _said(what: str, took: list[float], failed: int) -> None:
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(f"{what}: {len(took)} calls, {failed} failed, p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms")


async def _measure(folder: Path) -> None:
    (folder / "target.py").write_text(SERVER)
    endpoint, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mpzmq", "serve", "target:server", "--app-dir", str(folder)]
    command += ["--bind", endpoint, "--admin", admin, "--log-level", "error"]
    server = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        await server.stdout.readline()
        async with ComputerEngineWorker() as worker, worker.connect(endpoint) as container:
            for turn in (1, 2):
                alone = asyncio.create_task(asyncio.sleep(SECONDS_ALONE))
                _said("alone  ", *await _call(container, alone.done))
                before = _resident(server.pid)
                attacking = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.admin.flood", f"http://{admin}/", stdout=subprocess.PIPE
                )
                told = asyncio.create_task(attacking.communicate())
                _said("flooded", *await _call(container, told.done))
                outcomes = (await told)[0].decode().strip()
                print(f"  turn {turn}: {outcomes}; memory {before} KiB before, {_resident(server.pid)} KiB after")
    finally:
        server.terminate()
        await server.wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(dict(asyncio.run(attack(sys.argv[1], 1000, 500))))
    else:
        import tempfile

        with tempfile.TemporaryDirectory() as name:
            asyncio.run(_measure(Path(name)))
