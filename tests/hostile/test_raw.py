"""Strangers at the port: whatever they send or do not send, the healthy client is answered on its own connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .attacks import ATTACKS, endless_frames
from .target import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .target import Target

FRAMES = 100_000


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_stranger_harms_nobody(target: Target, name: str) -> None:
    async with target.watched():
        await ATTACKS[name](target.address)
    facts = await target.unharmed(grown=24)
    assert facts["received"] - target.before["received"] == len(target.latencies) + 1, "a stranger was served"
    assert facts["sessions"] <= target.before["sessions"]


async def test_what_endless_frames_cost(target: Target, record_property: Callable[[str, object], None]) -> None:
    """Nothing in libzmq bounds them, and the library does not see them: this records the price, and who pays it."""
    async with target.watched():
        await endless_frames(target.address, FRAMES)
    facts = await target.unharmed(grown=24)
    grown = facts["rss"] - target.before["rss"]
    record_property("bytes on the wire", 3 * FRAMES)
    record_property("bytes of memory", grown)
    assert facts["received"] - target.before["received"] == len(target.latencies) + 1
    # 21 bytes of memory for one on the wire were seen; far more would be a new weakness.
    assert grown <= 40 * 3 * FRAMES + 8 * MEBIBYTE
