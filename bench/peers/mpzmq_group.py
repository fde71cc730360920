"""The same through a group: what picking a container for each request costs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from .mpzmq_peer import MpzmqPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..scenarios import Scenario
    from .base import Call

WITHIN = 60.0
"""Seconds for all members to be there."""


class MpzmqGroupPeer(MpzmqPeer):
    """One group over all containers of a row, with its defaults."""

    name = "mpzmq-group"
    title = "mpzmq, a group"
    unfair = "It picks the container for each request by itself; the others are told which one."

    def supports(self, scenario: Scenario) -> bool:
        """All but the streams."""
        return scenario.kind != "items"

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """The group's call, for whichever container."""
        import mpzmq

        async with mpzmq.ComputerEngineWorker() as worker, worker.group(list(endpoints), timeout=WITHIN) as group:
            await group.wait_ready(len(endpoints), timeout=WITHIN)
            yield [group.request]


PEER = MpzmqGroupPeer()
