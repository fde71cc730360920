"""Hostile clients of an admin endpoint, while somebody calls: a small version of ``python -m tests.admin.flood``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.admin.client import get
from tests.admin.flood import KINDS, attack
from tests.support.waiting import soon

if TYPE_CHECKING:
    from tests.support.scene import Scene


async def test_calls_go_on_and_a_probe_gets_through(scene: Scene) -> None:
    url = await scene.server.bind_admin("127.0.0.1:0")
    attacking = asyncio.create_task(attack(url, requests=8 * len(KINDS), held=100))
    calls = 0
    while not attacking.done():
        assert await soon(scene.container.request(calls)) == calls
        calls += 1
        if calls % 20 == 0:
            assert (await soon(get(url, "/livez"))).status == 200
    outcomes = await attacking
    assert calls > 20 and outcomes.total() == 8 * len(KINDS)
    assert outcomes["200"] >= 16 and not outcomes["500"]
    assert (await get(url, "/readyz")).status == 200
