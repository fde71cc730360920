"""How soon a fault is seen, and how soon after its end the first reply comes: measured, with the default policies."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import zmq

from mpzmq import HeartbeatPolicy, LinkBusy, LinkDown, LinkEvent, ReconnectPolicy
from mpzmq.testing import ServedProcess

from .engine import Job
from .netns import why_not
from .partition import WAYS, partitioned
from .place import container_process
from .report import seconds, table
from .stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mpzmq.testing.proxy import Side

__all__ = ["measured"]

HEARTBEAT = HeartbeatPolicy()
RECONNECT = ReconnectPolicy()
PATIENCE = 60.0
NAME = "container.test"


@dataclass(slots=True)
class Times:
    """Of one fault, one element a round."""

    detected: list[float] = field(default_factory=list)
    recovered: list[float] = field(default_factory=list)


class Rounds:
    """Makes a fault again and again on one stage, and takes the time."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.times = Times()

    async def seen(self, since: float, kind: type[LinkEvent] = LinkDown) -> None:
        """Waits for the event, and notes how long it took."""
        at = await self.stage.watch.wait_for(self.stage.container.remote_id, kind, since, PATIENCE)
        self.times.detected.append(at - since)

    async def over(self) -> None:
        """The fault has ended now: notes how long the first reply takes."""
        began = time.monotonic()
        request = await self.stage.ask("after", timeout=PATIENCE)
        assert request.outcome == "replied", request
        self.times.recovered.append(time.monotonic() - began)


async def killed(rounds: Rounds) -> None:
    """SIGKILL, restart on the same port once it was seen"""
    began = time.monotonic()
    rounds.stage.process.kill()
    await rounds.seen(began)
    await rounds.stage.process.wait()
    await rounds.stage.process.restart()
    await rounds.over()


async def stopped(rounds: Rounds) -> None:
    """SIGSTOP of an idle container"""
    began = time.monotonic()
    rounds.stage.process.send_signal(signal.SIGSTOP)
    await rounds.seen(began)
    rounds.stage.process.send_signal(signal.SIGCONT)
    await rounds.over()


async def stopped_behind_much(rounds: Rounds) -> None:
    """SIGSTOP behind 64 MiB"""
    began = time.monotonic()
    rounds.stage.process.send_signal(signal.SIGSTOP)
    size = (16 << 20) - 1024
    sent = [rounds.stage.ask(Job("swallow", (bytes(size),), size), timeout=PATIENCE) for _ in range(4)]
    await rounds.seen(began)
    rounds.stage.process.send_signal(signal.SIGCONT)
    await rounds.over()
    await asyncio.gather(*sent)


async def reset(rounds: Rounds) -> None:
    """RST"""
    began = time.monotonic()
    await rounds.stage.proxy.reset()
    await rounds.seen(began)
    await rounds.over()


async def _half_open(rounds: Rounds, keep: Side) -> None:
    began = time.monotonic()
    rounds.stage.proxy.half_open(keep=keep)
    await rounds.seen(began)
    await rounds.over()


async def half_open_there(rounds: Rounds) -> None:
    """half-open: the container does not know"""
    await _half_open(rounds, "container")


async def half_open_here(rounds: Rounds) -> None:
    """half-open: the engine does not know"""
    await _half_open(rounds, "worker")


async def blocked(rounds: Rounds) -> None:
    """a handler blocks the container's loop (BUSY, not DOWN)"""
    began = time.monotonic()
    asked = rounds.stage.ask(Job("block", (3 * HEARTBEAT.interval,)), timeout=PATIENCE)
    await rounds.seen(began, LinkBusy)
    behind = rounds.stage.ask("behind", timeout=PATIENCE)
    over = began + 3 * HEARTBEAT.interval
    await behind
    rounds.times.recovered.append(time.monotonic() - over)
    await asked


FAULTS: tuple[Callable[[Rounds], Awaitable[None]], ...] = (
    killed,
    stopped,
    stopped_behind_much,
    reset,
    half_open_there,
    half_open_here,
    blocked,
)


async def _of(fault: Callable[[Rounds], Awaitable[None]], number: int) -> Times:
    with tempfile.TemporaryDirectory() as folder:
        async with Stage(Path(folder), HEARTBEAT, RECONNECT) as stage:
            rounds = Rounds(stage)
            for _ in range(number):
                assert (await stage.ask("before", timeout=PATIENCE)).outcome == "replied"
                await fault(rounds)
        return rounds.times


async def moved(number: int) -> Times:
    """SIGKILL, and a successor at another address of the host name."""
    lookup, addresses = socket.getaddrinfo, ["127.0.0.1", "127.0.0.2"]

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        return lookup(addresses[0] if host == NAME else host, port, *args, **kwargs)

    with tempfile.TemporaryDirectory() as name, mock.patch("socket.getaddrinfo", resolve):
        async with contextlib.AsyncExitStack() as stack:
            stage = await stack.enter_async_context(Stage(Path(name), HEARTBEAT, RECONNECT, name=NAME))
            rounds, process = Rounds(stage), stage.process
            port = process.endpoint.rpartition(":")[2]
            for _ in range(number):
                assert (await stage.ask("before", timeout=PATIENCE)).outcome == "replied"
                began = time.monotonic()
                process.kill()
                await rounds.seen(began)
                successor = container_process(
                    Path(name) / "container", HEARTBEAT, endpoint=f"tcp://{addresses[1]}:{port}"
                )
                process = ServedProcess(successor)
                stack.push_async_callback(process.close)
                await asyncio.to_thread(successor.start)
                addresses.reverse()
                await rounds.over()
        return rounds.times


def measured(number: int) -> str:
    """A table in markdown, from so many rounds of each fault; takes about a minute a round."""
    rows = []

    def add(name: str, times: Times) -> None:
        rows.append((name, seconds(times.detected), seconds(times.recovered)))
        sys.stderr.write(f"{' | '.join(rows[-1])}\n")

    for fault in FAULTS:
        add(fault.__doc__ or "", asyncio.run(_of(fault, number)))
    add("SIGKILL, successor at another address of the name", asyncio.run(moved(number)))
    reason = why_not()
    for way in WAYS if reason is None else ():
        times = Times()
        for _ in range(number):
            found = partitioned(way, 3 * HEARTBEAT.down_after, HEARTBEAT, RECONNECT)
            times.detected += [] if found.detected is None else [found.detected]
            times.recovered.append(found.recovered)
        add(f"partition, {way}", times)
    text = table(("fault", "detected after (median, max)", "first reply after its end (median, max)"), rows)
    versions = f"Python {platform.python_version()}, pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}"
    policies = f"{HEARTBEAT}, {RECONNECT}"
    notes = [f"{number} rounds each; {policies}", f"{platform.platform()}, {versions}"]
    if reason is not None:
        notes.append(f"no partitions: {reason}")
    return "\n\n".join([text, *notes])
