"""Members: who belongs to a group, as a test says."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ..common.set_module import set_module
from ..engine.resolvers import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

__all__ = ["Members"]


@set_module("mpzmq.testing")
class Members:
    """A resolver whose members a test adds and removes: ``worker.group(Members([served.endpoint]))``.

    Any number of groups may follow it, on one event loop.

    Args:
        members: addresses or :class:`mpzmq.Endpoint` objects.
    """

    def __init__(self, members: Iterable[str | Endpoint] = ()) -> None:
        self._members = {endpoint.name: endpoint for endpoint in map(_endpoint, members)}
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, member: str | Endpoint) -> None:
        """One more; one of the same name is replaced.

        Args:
            member: its address, or an Endpoint.
        """
        endpoint = _endpoint(member)
        self._members[endpoint.name] = endpoint
        self._tell()

    def remove(self, name: str) -> None:
        """One less.

        Args:
            name: its name; of a member without one its address.

        Raises:
            KeyError: there is no such member.
        """
        if name not in self._members:
            with contextlib.suppress(ValueError, TypeError):  # it is no address
                name = _endpoint(name).name
        if name not in self._members:
            raise KeyError(f"there is no member {name!r}")
        del self._members[name]
        self._tell()

    async def watch(self) -> AsyncIterator[Iterable[str | Endpoint]]:
        """The members, now and whenever they change."""
        while True:
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(changed)
            yield tuple(self._members.values())
            await changed

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _endpoint(member: str | Endpoint) -> Endpoint:
    return member if isinstance(member, Endpoint) else Endpoint(member)
