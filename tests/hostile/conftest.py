"""The processes under attack, and raw sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpzmq.testing import ContainerProcess

from .target import ROOT, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="package")
def attacked() -> Iterator[ContainerProcess]:
    """One process for all tests that leave it as it was: none of them may end it."""
    with ContainerProcess("tests.hostile.container:small", folder=ROOT, drain_timeout=0.2) as process:
        yield process


@pytest.fixture
async def target(attacked: ContainerProcess) -> AsyncIterator[Target]:
    """The process, with a healthy client that came before the attack."""
    async with Target(attacked) as one:
        yield one
