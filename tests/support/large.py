"""A container for large data, that tests start as a process of its own: ``tests.support.large:server``."""

from __future__ import annotations

import asyncio
import mmap
from pathlib import Path
from typing import Any

from mpzmq import ContainerServer, HeartbeatPolicy, Limits
from tests.support.waiting import scaled

MIB = 1024 * 1024
LIMITS = Limits(message_bytes=1024 * MIB)
"""Larger than what may be queued: one large message may be."""

server = ContainerServer(
    name="large", heartbeat=HeartbeatPolicy(interval=scaled(0.3), down_after=scaled(2.0)), limits=LIMITS
)
sizes: list[int] = []
given: dict[int, memoryview] = {}


def filled(size: int) -> memoryview:
    """Memory that has been written to, each page with its own number."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for place in range(0, size, mmap.PAGESIZE):
        memory[place : place + 4] = (place // mmap.PAGESIZE).to_bytes(4, "big")
    return memoryview(memory).toreadonly()


def is_filled(data: memoryview) -> bool:
    """Whether it is what :func:`filled` makes."""
    pages = range(0, len(data), mmap.PAGESIZE)
    return all(data[place : place + 4] == (place // mmap.PAGESIZE).to_bytes(4, "big") for place in pages)


def peak() -> int:
    """The most memory that this process has had, in bytes (Linux)."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


@server.function
def length(data: Any) -> int:
    """How much has come; noted."""
    sizes.append(len(data))
    return len(data)


@server.function
def check(data: Any) -> bool:
    return is_filled(memoryview(data).cast("B"))


@server.function
def give(mib: int) -> memoryview:
    if mib not in given:
        given[mib] = filled(mib * MIB)
    return given[mib]


@server.function
def give_array(mib: int) -> Any:
    import numpy

    return numpy.frombuffer(give(mib), "u1").reshape(-1, MIB)


@server.function
def seen() -> list[int]:
    return sizes


@server.function
def memory() -> int:
    return peak()


@server.function
async def hold(data: Any, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return len(data)
