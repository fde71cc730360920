"""Containers in this process and in others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import Limits
from tests.support import ROOT
from tests.support.container import SPEC
from tests.support.streams import Stage, stage_behind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from mpzmq.testing import ContainerFactory, ProxyFactory, ServedProcess
    from tests.support.container import Start


@pytest.fixture
def start(mpzmq_container: ContainerFactory) -> Start:
    """Starts container processes; they are ended after the test."""

    def started(**options: Any) -> Awaitable[ServedProcess]:
        return mpzmq_container(SPEC, folder=ROOT, **options)

    return started


@pytest.fixture
def limits() -> Limits:
    """Those of both sides of a stage; a test has others by a parameter of this name."""
    return Limits()


@pytest.fixture
def orphan_after() -> float:
    """That of the container of a stage; a test has another by a parameter of this name."""
    return 30.0


@pytest.fixture
async def stage(mpzmq_proxy: ProxyFactory, limits: Limits, orphan_after: float) -> AsyncIterator[Stage]:
    """A container that streams in all ways, and a worker."""
    async with stage_behind(mpzmq_proxy, limits, orphan_after=orphan_after) as made:
        yield made
