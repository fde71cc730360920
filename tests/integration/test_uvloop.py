"""What uvloop does otherwise than asyncio."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from mpzmq.config import HeartbeatPolicy
from mpzmq.container.hub import Hub
from mpzmq.container.registry import Registry

from .test_refused_sends import LIMITS, Full


def test_deadlines_that_have_come_already() -> None:
    """``call_at()`` for the past returns a handle without ``when()`` there."""
    uvloop = pytest.importorskip("uvloop", reason="the extra fast is not installed")

    async def arm_twice() -> None:
        hub = Hub(uuid.uuid4(), "hub", Registry(), HeartbeatPolicy(), LIMITS, Full())
        now = asyncio.get_running_loop().time()
        for deadline in (now - 1.0, now - 2.0):
            hub.dispatcher.deadlines.add(deadline)
            hub._arm()
        await hub.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(arm_twice())
