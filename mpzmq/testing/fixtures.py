"""The fixtures, where pytest-asyncio is at work: what they open, they close after the test, also after a failed one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from ..engine.worker import ComputerEngineWorker
    from .factories import ContainerFactory, ProxyFactory

__all__ = ["mpzmq_container", "mpzmq_proxy", "mpzmq_worker"]


@pytest_asyncio.fixture
async def mpzmq_worker() -> AsyncIterator[ComputerEngineWorker]:
    """A worker that redials quickly: ``container = await mpzmq_worker.connect(uuid4(), served.endpoint)``."""
    from .in_process import quick_worker

    async with quick_worker() as worker:
        yield worker


@pytest_asyncio.fixture
async def mpzmq_container(request: pytest.FixtureRequest) -> AsyncIterator[ContainerFactory]:
    """Serves containers: ``await mpzmq_container(server)``, or ``"module:server"`` for a process of its own."""
    from .factories import ContainerFactory

    async with contextlib.AsyncExitStack() as stack:
        yield ContainerFactory(stack, request.path.parent)


@pytest_asyncio.fixture
async def mpzmq_proxy() -> AsyncIterator[ProxyFactory]:
    """Opens proxies that cut, freeze, delay and throttle: ``proxy = await mpzmq_proxy(served.endpoint)``."""
    from .factories import ProxyFactory

    async with contextlib.AsyncExitStack() as stack:
        yield ProxyFactory(stack)
