"""Members that fail again and again are left out for a while (Envoy's outlier detection, gRPC A50)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConnectionLost, Overloaded, ProtocolError, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Collection

    from ...config import GroupPolicy
    from .candidate import Candidate

__all__ = ["Ejection", "speaks_of_member"]

MAX_TIMES = 10
"""How many times ``eject_for`` a member is ejected, at most."""


def speaks_of_member(error: BaseException, *, left: bool) -> bool:
    """Whether an error says something of the member and not of the request: it may be another one's answer, too.

    What has not left says nothing of it: its link was full, or the time was over before.
    """
    return left and isinstance(error, ConnectionLost | Overloaded | ProtocolError | RequestTimeout)


class Ejection:
    """Who of a group is ejected.

    So many errors one behind the other eject a member, for longer each time; never more of them than the policy allows,
    and never the last one that is well.

    Args:
        policy: how many errors, for how long, and how many members.

    Attributes:
        count: how often a member was ejected.
    """

    def __init__(self, policy: GroupPolicy) -> None:
        self.count = 0
        self._policy = policy

    def on_answer(self, member: Candidate) -> None:
        """A member has answered: what it failed before does not count any more."""
        member.errors = 0

    def on_error(self, member: Candidate, members: Collection[Candidate], now: float) -> bool:
        """An error has come that speaks of a member. Returns whether it is ejected for it."""
        policy = self._policy
        member.errors += 1
        if member.errors < policy.eject_errors or member.ejected_until is not None or member not in members:
            return False
        ejected = sum(other.ejected_until is not None for other in members)
        if ejected + 1 > policy.max_ejected * len(members):
            return False
        if not any(other.is_well for other in members if other is not member):
            return False
        quiet = int((now - member.ejected_at) / policy.eject_for)
        member.ejections = max(0, member.ejections - quiet) + 1
        member.ejected_until = now + policy.eject_for * min(member.ejections, MAX_TIMES)
        member.errors = 0
        self.count += 1
        return True

    def take_back(self, members: Collection[Candidate], now: float) -> list[Candidate]:
        """Lets those return whose time is over. Returns who they are."""
        back = [member for member in members if member.ejected_until is not None and member.ejected_until <= now]
        for member in back:
            assert member.ejected_until is not None
            member.ejected_at, member.ejected_until = member.ejected_until, None
        return back

    def next_return(self, members: Collection[Candidate]) -> float | None:
        """When the next one returns; None: nobody is ejected."""
        return min((member.ejected_until for member in members if member.ejected_until is not None), default=None)
