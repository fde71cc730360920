"""JoinedGroup: the containers that have dialled in, asked as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.set_module import set_module
from .group import Group
from .group_state import GroupState
from .membership import Membership

if TYPE_CHECKING:
    from ..config import GroupPolicy
    from .lobby import Lobby
    from .membership import GroupHost

__all__ = ["JoinedGroup", "joined_group"]

LINGER = 0.2
"""Seconds that containers have to read the last words when the group is closed."""


@set_module("mpzmq")
class JoinedGroup(Group):
    """A group whose members dial in. ``worker.accept()`` returns it; users make none."""

    _lobby: Lobby

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return self._lobby.text

    async def close(self) -> None:
        """Ends the group and its links, and frees the endpoint. Idempotent."""
        try:
            await super().close()
        finally:
            await self._lobby.close(LINGER)


async def joined_group(host: GroupHost, lobby: Lobby, name: str, policy: GroupPolicy) -> JoinedGroup:
    """A group of whoever joins; it is open, and has no members yet."""
    state = GroupState(name, policy, host.limits, host.loop_bound)
    membership = Membership(state, host, lobby, None)
    group = JoinedGroup(host, state, membership, {})
    group._lobby = lobby
    host.groups.open[state] = group
    try:
        await membership.open(None, wait=False)
    except BaseException:
        await group.close()
        raise
    return group
