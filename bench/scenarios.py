"""What is measured: the rows of the comparison, the streams, and the ratios that mpzmq has set itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

__all__ = ["COST_TARGETS", "ROWS", "SCENARIOS", "STREAMS", "TARGETS", "Scenario", "Target"]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row: an echo, or a stream of items in one direction.

    Attributes:
        name: as on the command line.
        title: for people.
        size: bytes of the payload, or of an item.
        in_flight: requests that are always under way, over all containers.
        containers: how many containers the requests go to, in turn.
        kind: ``"bytes"``, ``"view"`` (a memoryview, which may arrive without a copy), ``"dict"``, or ``"items"``: no
            echo, a container yields ``bytes`` and the client counts what has arrived.
        handler: ``"def"`` or ``"async"``: what the echo is, where a peer has the choice.
    """

    name: str
    title: str
    size: int = 64
    in_flight: int = 1
    containers: int = 1
    kind: str = "bytes"
    handler: str = "def"

    @property
    def counted(self) -> str:
        """What a rate of this row counts."""
        return "items" if self.kind == "items" else "requests"

    def payload(self) -> Any:
        """What is sent."""
        if self.kind == "dict":
            return {
                "order": 123456,
                "customer": "Grace Hopper",
                "paid": True,
                "total": 199.9,
                "items": [{"sku": f"A-{n:05}", "count": n, "price": n * 1.25, "note": "x" * 40} for n in range(10)],
                "tags": ["new", "gift", "express"],
            }
        content = os.urandom(self.size)
        return memoryview(content) if self.kind == "view" else content


def _rows(*rows: Scenario) -> dict[str, Scenario]:
    return {row.name: row for row in rows}


SCENARIOS = _rows(
    Scenario(name="echo-1", title="64 B, 1 in flight"),
    Scenario(name="echo-64", title="64 B, 64 in flight", in_flight=64),
    Scenario(name="echo-1000", title="64 B, 1,000 in flight", in_flight=1000),
    Scenario(name="async-1000", title="64 B, 1,000 in flight, async def", in_flight=1000, handler="async"),
    Scenario(name="dict-64", title="1 kB dict, 64 in flight", size=1000, in_flight=64, kind="dict"),
    Scenario(name="4k-64", title="4 KiB bytes, 64 in flight", size=4 * KIB, in_flight=64),
    Scenario(name="64k-8", title="64 KiB bytes, 8 in flight", size=64 * KIB, in_flight=8),
    Scenario(name="960k-8", title="960 KiB bytes, 8 in flight", size=960 * KIB, in_flight=8),
    Scenario(name="1m-8", title="1 MiB bytes, 8 in flight", size=MIB, in_flight=8),
    Scenario(name="view-1m-8", title="1 MiB memoryview, 8 in flight", size=MIB, in_flight=8, kind="view"),
    Scenario(name="4m-8", title="4 MiB bytes, 8 in flight", size=4 * MIB, in_flight=8),
    Scenario(name="view-4m-8", title="4 MiB memoryview, 8 in flight", size=4 * MIB, in_flight=8, kind="view"),
    Scenario(name="16m-2", title="16 MiB bytes, 2 in flight", size=16 * MIB, in_flight=2),
    Scenario(name="view-16m-2", title="16 MiB memoryview, 2 in flight", size=16 * MIB, in_flight=2, kind="view"),
    Scenario(name="fan-10", title="10 containers, 1,000 in flight", in_flight=1000, containers=10),
    Scenario(name="fan-100", title="100 containers, 1,000 in flight", in_flight=1000, containers=100),
    Scenario(name="fan-1000", title="1,000 containers, 1,000 in flight", in_flight=1000, containers=1000),
)

"""The echoes, which ``compare`` measures."""

STREAMS = _rows(Scenario(name="stream", title="64 B items, one stream", kind="items"))
"""What ``streams`` measures."""

ROWS = SCENARIOS | STREAMS


@dataclass(frozen=True, slots=True)
class Target:
    """mpzmq against one peer in one row, as a ratio of requests or items per second."""

    scenario: str
    peer: str
    at_least: float


TARGETS = (
    Target("echo-1", "plain-pyzmq", 0.75),
    Target("echo-1", "fd-reader", 0.8),
    Target("echo-1", "grpc", 3.5),
    Target("echo-64", "zmq-asyncio", 5),
    Target("echo-64", "grpc", 20),
    Target("echo-1000", "tcp", 0.45),
    Target("echo-1000", "zmq-asyncio", 10),
    Target("echo-1000", "nats", 4.5),
    Target("echo-1000", "grpc", 40),
    Target("async-1000", "tcp", 0.28),
    Target("dict-64", "tcp", 0.75),
    Target("dict-64", "nats", 2),
    Target("4k-64", "plain-pyzmq", 0.55),
    Target("64k-8", "plain-pyzmq", 0.65),
    Target("1m-8", "plain-pyzmq", 0.85),
    Target("1m-8", "grpc", 3),
    Target("view-1m-8", "plain-pyzmq", 0.65),
    Target("4m-8", "plain-pyzmq", 0.8),
    Target("view-4m-8", "plain-pyzmq", 0.6),
    Target("16m-2", "plain-pyzmq", 0.8),
    Target("view-16m-2", "plain-pyzmq", 0.6),
    Target("fan-1000", "plain-pyzmq", 0.5),
    Target("stream", "tcp", 0.4),
    Target("stream", "grpc", 30),
)
"""The ratios that the project wants to reach, compiled and on uvloop."""

COST_TARGETS = {
    "import_ratio": ("import mpzmq", "import zmq, asyncio, msgpack", 1.5),
    "idle_cpu_percent": ("1,000 idle links, engine", "% of one core", 5.0),
    "rss_per_link_kib": ("an idle link, engine", "KiB of memory", 100.0),
}
"""What the project wants to stay under, by the keys of the costs: the work, what it is measured in, the bound."""
