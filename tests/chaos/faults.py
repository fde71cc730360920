"""What is done to containers and to the network, each as a small coroutine that returns when the fault is over."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .engine import Job, ask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from mpzmq.testing.proxy import Side

    from .history import EngineLog
    from .place import Place

__all__ = ["FAULTS", "SIDES", "Fault", "Scene"]

SIDES: tuple[Side, Side] = ("container", "worker")


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a fault is at work.

    Attributes:
        place: the container, and the ways to it.
        rng: decides the details.
        log: for requests that a fault itself makes.
        down_after: of the engine's heartbeat.
    """

    place: Place
    rng: Random
    log: EngineLog
    down_after: float


async def cut(scene: Scene) -> None:
    """All connections end, and new ones are refused for a while."""
    await scene.place.proxy.cut()
    await asyncio.sleep(scene.rng.uniform(0.05, 0.6))
    scene.place.proxy.restore()


async def reset_mid_frame(scene: Scene) -> None:
    """An RST after some bytes, most of the time in the middle of a frame."""
    proxy, side = scene.place.proxy, scene.rng.choice(SIDES)
    count = scene.rng.randrange(1, 20_000)
    connections, passed = proxy.connections, proxy.bytes_to(side)
    proxy.reset_after(count, to=side)
    for _ in range(200):
        await asyncio.sleep(0.01)
        if proxy.connections > connections:
            return
    if proxy.bytes_to(side) - passed < count:
        await proxy.reset()


async def half_open(scene: Scene) -> None:
    """One side has lost the connection, the other does not know."""
    scene.place.proxy.half_open(keep=scene.rng.choice(SIDES))


async def hang_up(scene: Scene) -> None:
    """All connections end, and new ones are accepted and closed for a while."""
    scene.place.proxy.hang_up = True
    await scene.place.proxy.reset()
    await asyncio.sleep(scene.rng.uniform(0.1, 0.6))
    scene.place.proxy.hang_up = False


async def throttle(scene: Scene) -> None:
    """Few bytes a second."""
    scene.place.proxy.rate = scene.rng.uniform(20_000, 500_000)
    await asyncio.sleep(scene.rng.uniform(0.3, 1.5))
    scene.place.proxy.rate = None


async def delay(scene: Scene) -> None:
    """A long way."""
    scene.place.proxy.delay = scene.rng.uniform(0.02, 0.4)
    await asyncio.sleep(scene.rng.uniform(0.3, 1.5))
    scene.place.proxy.delay = 0.0


async def silence(scene: Scene) -> None:
    """Nothing passes, and nobody is told; often for longer than anybody waits."""
    scene.place.proxy.freeze()
    await asyncio.sleep(scene.rng.uniform(0.1, 2.0) * scene.down_after)
    scene.place.proxy.thaw()


async def kill(scene: Scene) -> None:
    """SIGKILL, and a successor on the same port."""
    scene.place.process.kill()
    await scene.place.process.wait()
    await asyncio.sleep(scene.rng.uniform(0.0, 0.5))
    await scene.place.process.restart()


async def stop_shortly(scene: Scene) -> None:
    """SIGSTOP and SIGCONT before anybody is sure."""
    await _stopped(scene, scene.rng.uniform(0.05, 0.5) * scene.down_after)


async def stop_for_long(scene: Scene) -> None:
    """SIGSTOP and SIGCONT after the container was given up."""
    await _stopped(scene, scene.rng.uniform(2.0, 3.0) * scene.down_after)


async def _stopped(scene: Scene, seconds: float) -> None:
    scene.place.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        scene.place.process.send_signal(signal.SIGCONT)


async def drain(scene: Scene) -> None:
    """SIGTERM: the container finishes its work and ends; and a successor on the same port."""
    scene.place.process.send_signal(signal.SIGTERM)
    await scene.place.process.wait(20.0)
    await scene.place.process.restart()


async def block(scene: Scene) -> None:
    """A handler holds the container's event loop."""
    seconds = scene.rng.uniform(0.5, 2.0) * scene.down_after
    await ask(scene.log, scene.place.direct, Job("block", (seconds,)), timeout=seconds + 5.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Attributes:
        run: makes it, and returns when it is over.
        link: the link on which it shows.
        weight: how often it is chosen.
        ends_process: whether the container is another one afterwards.
    """

    run: Callable[[Scene], Awaitable[None]]
    link: Literal["direct", "proxied"]
    weight: float = 1.0
    ends_process: bool = False

    @property
    def name(self) -> str:
        """As it stands in the table."""
        return self.run.__name__.replace("_", " ")


FAULTS = (
    Fault(cut, "proxied"),
    Fault(reset_mid_frame, "proxied", 2.0),
    Fault(half_open, "proxied"),
    Fault(hang_up, "proxied"),
    Fault(throttle, "proxied"),
    Fault(delay, "proxied"),
    Fault(silence, "proxied"),
    Fault(kill, "direct", 2.0, ends_process=True),
    Fault(stop_shortly, "direct"),
    Fault(stop_for_long, "direct"),
    Fault(drain, "direct", ends_process=True),
    Fault(block, "direct"),
)
