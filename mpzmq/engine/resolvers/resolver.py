"""Resolver: what says where the members of a group are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ...common.set_module import set_module

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .endpoint import Endpoint

__all__ = ["Resolver"]


@set_module("mpzmq")
@runtime_checkable
class Resolver(Protocol):
    """What says where the members of a group are, for sources that mpzmq does not know.

    A resolver may also have a method ``poke()``, without arguments: the group calls it when a member is lost, and
    whoever can look at once should do so. It is a plain method, and what it raises is logged.
    """

    def watch(self) -> AsyncIterator[Iterable[str | Endpoint]]:
        """The members, now and whenever they change: each item is the whole set, as it is then.

        An error that it raises is logged, the members stay as they are, and it is called again a while later. If it
        ends, the members stay for good. When the group is closed it is cancelled, and given up after a second.
        """
        ...
