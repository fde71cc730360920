"""One request of a group and its tries: whether another member is asked, and what the whole has come to."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

from ...errors import (
    ConnectionLost,
    ContainerDraining,
    ContainerStopped,
    NotConnected,
    Overloaded,
    RequestError,
)
from ...models import Attempt, Executed

if TYPE_CHECKING:
    from ...models import Member
    from .candidate import Candidate
    from .retry_budget import RetryBudget

__all__ = ["Tries"]

_E = TypeVar("_E", bound=RequestError)

_OF_THE_MEMBER = NotConnected, Overloaded, ContainerDraining, ContainerStopped, ConnectionLost
"""Where nothing has run, another member may be asked after these. That a connection was lost before the request could
leave says no more than that there is none."""

_WORSE = {Executed.NO: 0, Executed.UNKNOWN: 1, Executed.YES: 2}


class Tries:
    """The tries of one request.

    Args:
        max_attempts: how many may leave, each to another member.
        idempotent: whether it may run twice.
        budget: what tries behind the first are paid from.

    Attributes:
        attempts: what each member has answered.
        asked: who was asked.
        passed: who is not asked again: who has refused it, though it could be asked. All others tell by their links.
    """

    def __init__(self, max_attempts: int, idempotent: bool, budget: RetryBudget) -> None:
        self.attempts: list[Attempt] = []
        self.asked: set[Candidate] = set()
        self.passed: set[Candidate] = set()
        self._max_attempts = max_attempts
        self._idempotent = idempotent
        self._budget = budget
        self._left = 0
        self._unsent: dict[Candidate, Attempt] = {}
        self._executed = Executed.NO

    def on_error(self, candidate: Candidate, member: Member, error: RequestError, *, left: bool) -> None:
        """A try has failed.

        Args:
            candidate: who was asked.
            member: the same, as the application is told.
            error: what came of it.
            left: whether it has left this process.
        """
        attempt = Attempt(member, error.with_traceback(None))
        if not left:  # it may be tried again and again, as long as its caller waits: only the last time is kept
            before, self._unsent[candidate] = self._unsent.get(candidate), attempt
            self.attempts = [other for other in self.attempts if other is not before]
        self.attempts.append(attempt)
        if _WORSE[error.executed] > _WORSE[self._executed]:
            self._executed = error.executed
        self._left += left
        if left and isinstance(error, Overloaded):
            self.passed.add(candidate)

    def may_go_on(self, error: RequestError, now: float, *, left: bool) -> bool:
        """Whether another member may be asked after this error: nothing has run, or it may run twice.

        What has not left costs nothing, and can be tried as often as members are found.
        """
        if error.executed is Executed.NO:
            if not isinstance(error, _OF_THE_MEMBER):
                return False
        elif not (self._idempotent and isinstance(error, ConnectionLost)):
            return False
        return not left or (self._left < self._max_attempts and self._budget.withdraw(now))

    def summed_up(self, error: _E, *more: Attempt) -> _E:
        """The error of the whole: that of its last try, with all of them. It has run, if any of them has.

        Args:
            error: of the last try.
            more: what has come of a try of which nobody has told yet.
        """
        whole = copy.copy(error)
        if _WORSE[self._executed] > _WORSE[whole.executed]:
            whole.executed = self._executed
        whole.tried = (*self.attempts, *more)
        return whole
