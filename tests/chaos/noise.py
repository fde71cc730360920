"""A link whose bytes are flipped, behind the back of TCP's checksum.

It has a proxy and a session of its own, for a flipped byte can do lasting harm to a session: a sequence number or a
low-water mark that is too high makes all later requests stale. Nobody can tell such a byte from a true one; what can be
asked is that nothing crashes, nothing hangs, and that the sessions of others do not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from mpzmq.testing import Proxy

from .faults import SIDES

if TYPE_CHECKING:
    from random import Random

    from mpzmq import ComputerEngineWriter

    from .place import Place

__all__ = ["NoisyLink"]


class NoisyLink:
    """Another link to a place, and what flips its bytes.

    Attributes:
        remote_id: of the link, whose handle changes.
        links: the handle, as the only element.
        flips: how many bytes were flipped.
    """

    def __init__(self, place: Place, rng: Random) -> None:
        self.remote_id = uuid4()
        self.links: list[ComputerEngineWriter] = []
        self.flips = 0
        self._place = place
        self._rng = rng
        self._proxy = Proxy(place.process.endpoint)

    async def __aenter__(self) -> Self:
        await self._proxy.__aenter__()
        await self._connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._proxy.close()

    async def _connect(self) -> None:
        # In the background: the container may be away.
        worker, endpoint = self._place.worker, self._proxy.endpoint
        self.links[:] = [await worker.connect(self.remote_id, endpoint, name="noisy", wait=False)]

    async def run(self, until: asyncio.Event) -> None:
        """Flips until the event is set; after a few flips the link gets a new session."""
        while not until.is_set():
            for _ in range(self._rng.randrange(1, 4)):
                await self._flip()
                await self._pause(until)
            await self._place.worker.disconnect(self.remote_id)
            await self._connect()
            await self._pause(until)

    async def _flip(self) -> None:
        side = self._rng.choice(SIDES)
        self._proxy.flip(self._rng.randrange(1, 256), to=side, after=int(self._rng.expovariate(1 / 1000)))
        if self._rng.random() < 0.5:  # in the greeting, too
            await self._proxy.reset()
        self.flips += 1

    async def _pause(self, until: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), self._rng.uniform(0.2, 1.0))
