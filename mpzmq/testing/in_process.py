"""A server, or several, and a worker in one event loop."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, overload
from uuid import uuid4

from ..common.set_module import set_module
from ..config import DEFAULT_GROUP, ReconnectPolicy
from ..engine.resolvers import Endpoint
from ..engine.worker import ComputerEngineWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from ..config import GroupPolicy
    from ..container.server import ContainerServer
    from ..engine.group import Group
    from ..engine.writer import ComputerEngineWriter
    from ..security.credentials import Security

__all__ = ["ANY_PORT", "connected", "quick_worker"]

ANY_PORT = "tcp://127.0.0.1:0"


def quick_worker(security: Security | None = None, *, typed: bool = False) -> ComputerEngineWorker:
    """A worker that redials every 50 ms: nobody wants to wait for a second in a test."""
    return ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.05), security=security, typed=typed)


# fmt: off
@overload
def connected(
    server: ContainerServer, *, name: str | None = None, security: Security | None = None
) -> AbstractAsyncContextManager[ComputerEngineWriter]: ...

@overload
def connected(
    server: ContainerServer, other: ContainerServer, /, *others: ContainerServer,
    name: str | None = None, security: Security | None = None, policy: GroupPolicy = DEFAULT_GROUP,
) -> AbstractAsyncContextManager[Group]: ...
# fmt: on


@set_module("mpzmq.testing")
def connected(
    server: ContainerServer,
    *others: ContainerServer,
    name: str | None = None,
    security: Security | None = None,
    policy: GroupPolicy = DEFAULT_GROUP,
) -> AbstractAsyncContextManager[ComputerEngineWriter] | AbstractAsyncContextManager[Group]:
    """Serves on a free port of 127.0.0.1, and yields a handle that is connected to it; of several servers, a group.

    Everything is real: the sockets, the bytes and the errors. The handle belongs to a worker of its own, which is typed
    if a server is. At the end the
    worker is closed, then the servers, which can be used again afterwards.

    Args:
        server: is entered and closed here; do not enter it yourself.
        others: the same; the members of the group have the servers' names, with a number where one comes twice.
        name: what the container, or the group, is called in errors and events; by default the name of the server.
        security: the keys for servers that have some.
        policy: of the group.
    """
    return _group([server, *others], name, security, policy) if others else _container(server, name, security)


@contextlib.asynccontextmanager
async def _container(
    server: ContainerServer, name: str | None, security: Security | None
) -> AsyncIterator[ComputerEngineWriter]:
    async with server:
        endpoint = await server.bind(ANY_PORT)
        async with quick_worker(security, typed=server.typed) as worker:
            yield await worker.connect(uuid4(), endpoint, name=server.name if name is None else name)


@contextlib.asynccontextmanager
async def _group(
    servers: list[ContainerServer], name: str | None, security: Security | None, policy: GroupPolicy
) -> AsyncIterator[Group]:
    async with contextlib.AsyncExitStack() as stack:
        members: dict[str, Endpoint] = {}
        for server in servers:
            await stack.enter_async_context(server)
            own = server.name if server.name not in members else f"{server.name}-{len(members) + 1}"
            members[own] = Endpoint(await server.bind(ANY_PORT), name=own)
        worker = await stack.enter_async_context(quick_worker(security, typed=any(server.typed for server in servers)))
        group = await worker.group(list(members.values()), name=name, policy=policy)
        await group.wait_ready(len(members))
        yield group
