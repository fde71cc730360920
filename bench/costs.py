"""What mpzmq costs beside time: import, connecting, memory of a link, CPU of links that are idle."""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from .peers.base import cpu_and_memory, loop_factory
from .peers.mpzmq_peer import PEER
from .processes import Server, run_client
from .scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LINKS", "costs", "measure_links"]

LINKS = 1000
IDLE_SECONDS = 10.0
IMPORTS = 11
"""How often each import is timed; the medians are compared."""


def measure_links(loop: str, seconds: float, endpoints: Sequence[str]) -> dict[str, float]:
    """The client process: connects to all endpoints, and sits idle."""

    async def measure() -> dict[str, float]:
        import mpzmq

        # The interpreter, the library, the loop and zmq's own threads are no cost of a link.
        async with PEER.connected(endpoints[:1]):
            gc.collect()
            before = cpu_and_memory("self")[1]
        began = time.perf_counter()
        async with PEER.connected(endpoints):
            connected = time.perf_counter() - began
            gc.collect()
            memory = cpu_and_memory("self")[1] - before
            await asyncio.sleep(2 * mpzmq.HeartbeatPolicy().interval)  # the greetings are over
            cpu, _ = cpu_and_memory("self")
            began = time.perf_counter()
            await asyncio.sleep(seconds)
            idle = (cpu_and_memory("self")[0] - cpu) / (time.perf_counter() - began)
        return {
            "links": len(endpoints),
            "connect_seconds": connected,
            "rss_per_link_kib": memory / len(endpoints) / 1024,
            "idle_cpu_percent": idle * 100,
        }

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        return runner.run(measure())


def import_seconds(statement: str) -> float:
    """How long a fresh interpreter takes for an import, without its own start."""
    code = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return float(done.stdout)


def costs(loop: str) -> dict[str, float]:
    """All of them."""
    ours, theirs, used = [], [], []
    for _ in range(IMPORTS):
        ours.append(import_seconds("import mpzmq"))
        theirs.append(import_seconds("import zmq, asyncio, msgpack"))
        used.append(import_seconds("import mpzmq; mpzmq.ComputerEngineWorker; mpzmq.ContainerServer"))
    base = statistics.median(theirs)
    found = {
        "import_ratio": statistics.median(ours) / base,
        "import_and_use_ratio": statistics.median(used) / base,
        "import_base_ms": base * 1000,
    }
    server = Server("mpzmq", SCENARIOS["fan-1000"], loop)
    try:
        command = ["links", "mpzmq", "fan-1000", "--loop", loop, "--seconds", str(IDLE_SECONDS)]
        found.update(run_client(server, command, IDLE_SECONDS, "mpzmq: idle links"))
    finally:
        server.close()
    return found
