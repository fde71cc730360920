"""Whom those from outside reach: a container or a group, opened when it is first asked for."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from ..common.text import repr_of, type_name
from ..engine.group import Group
from ..engine.resolvers import Endpoint, Resolver, resolver_for
from ..engine.worker import ComputerEngineWorker
from ..engine.writer import ComputerEngineWriter
from ..errors import NotConnected

if TYPE_CHECKING:
    from ..security.credentials import Security

__all__ = ["Container", "OpenedTarget", "Target"]

Container = ComputerEngineWriter | Group
"""What has ``call()`` and ``stream()``."""

Target = str | Sequence[str | Endpoint] | Resolver | Container | Callable[[], Container | Awaitable[Container]]
"""A source as ``worker.group()`` takes it, a handle or a group, or what returns one."""


class OpenedTarget:
    """A target, for as long as it is served.

    A source becomes a group of a worker of its own, which :meth:`close` ends. What an application passes or returns
    stays its own, and is asked for anew with each request.
    """

    def __init__(self, target: Target, *, security: Security | None = None, name: str | None = None) -> None:
        """Takes the target; connects to nobody yet.

        Args:
            target: whom requests go to.
            security: the keys for a source.
            name: what the containers of a source know this engine by.

        Raises:
            TypeError: it is no target; or ``security`` is given, and it is no source.
            ValueError: it is a malformed source.
            ImportError: it is a source that needs an extra.
        """
        self._source: str | Sequence[str | Endpoint] | Resolver | None = None
        self._given: Container | Callable[[], Container | Awaitable[Container]] | None = None
        if isinstance(target, ComputerEngineWriter | Group) or (callable(target) and not isinstance(target, Resolver)):
            if security is not None:
                raise TypeError("security is for a source: what is connected already has the keys of its worker")
            self._given = target
        else:
            resolver_for(target)  # raises now rather than at the first request
            self._source = target
        self._security = security
        self._name = name
        self._worker: ComputerEngineWorker | None = None
        self._group: Group | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def open(self) -> None:
        """Begins to dial a source, without waiting for anybody; after a :meth:`close`, anew."""
        self._closed = False
        if self._source is not None:
            await self._opened(self._source)

    async def get(self) -> Container:
        """The container or group to ask now.

        Raises:
            NotConnected: it was closed.
            TypeError: the application's callable has returned something else.
        """
        if self._group is not None:
            return self._group
        if self._closed:
            raise NotConnected("what is behind this was closed: it is being shut down")
        if self._source is not None:
            return await self._opened(self._source)
        given = self._given
        if not isinstance(given, ComputerEngineWriter | Group):
            assert given is not None
            found = given()
            given = await found if inspect.isawaitable(found) else found
        if not isinstance(given, ComputerEngineWriter | Group):
            raise TypeError(
                f"{repr_of(self._given, 60)} has to return a container, as worker.connect() makes it, or a group,"
                f" not {type_name(given)}"
            )
        return given

    async def close(self) -> None:
        """Ends what was opened here. Idempotent."""
        self._closed = True
        worker, self._worker, self._group = self._worker, None, None
        if worker is not None:
            await worker.close()

    async def _opened(self, source: str | Sequence[str | Endpoint] | Resolver) -> Group:
        async with self._opening:
            if self._group is not None:
                return self._group
            worker = ComputerEngineWorker(security=self._security, name=self._name)
            try:
                group = await worker.group(source, wait=False)
            except BaseException:
                await worker.close()
                raise
            if self._closed:
                await worker.close()
                raise NotConnected("what is behind this was closed: it is being shut down")
            self._worker, self._group = worker, group
            return group
