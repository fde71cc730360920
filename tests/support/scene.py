"""A server and a worker in this process, and what is asked of both."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ComputerEngineWorker, ComputerEngineWriter, ContainerServer, HeartbeatPolicy, ReconnectPolicy
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK = HeartbeatPolicy(interval=scaled(0.3), down_after=scaled(0.9))
REDIAL = ReconnectPolicy(interval=0.05, connect_timeout=scaled(1.0), lost_after=None)
"""Quick to dial, and patient: on a machine that is busy a successor may take long to start."""


def adds_up(counted: Any) -> bool:
    """The identity of promise 2."""
    return bool(counted.issued == counted.replied + counted.failed + counted.cancelled + counted.in_flight)


def worker_of(container: ComputerEngineWriter) -> ComputerEngineWorker:
    """The worker that a handle comes from."""
    worker: Any = getattr(container._drop, "__self__", None)
    assert isinstance(worker, ComputerEngineWorker)
    return worker


@dataclass
class Scene:
    """A server in this process and a worker that is connected to it."""

    server: ContainerServer
    worker: ComputerEngineWorker
    container: ComputerEngineWriter
    endpoint: str


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    server = ContainerServer(name="scene")

    @server.on_invoke
    async def echo(data: Any) -> Any:
        return data

    async with server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        container = await worker.connect(uuid.uuid4(), endpoint, name="scene")
        yield Scene(server, worker, container, endpoint)
