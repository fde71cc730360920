"""What all members of a group have answered."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ..common.set_module import set_module
from ..errors import MpzmqError
from ..runtime.item_streams import Waker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from ..models import Member
    from .group_member import GroupMember

__all__ = ["Gathering", "Outcome", "Outcomes"]


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Outcome:
    """What one member of a group has answered.

    Attributes:
        member: who.
        result: what its function returned; None where it failed.
        error: why it failed; None: it did not.
    """

    member: Member
    result: Any = None
    error: Exception | None = None


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Outcomes:
    """What the members of a group have answered: each is in one of the two, in the order of ``group.members``.

    Attributes:
        results: what the function returned, by the member's name.
        errors: why it failed, by the member's name; those that are down are here, too.
    """

    results: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)

    def check(self) -> Self:
        """Raises what has failed, if anything has.

        Returns:
            The outcomes themselves, for ``(await group.call_all("reload")).check().results``.

        Raises:
            ExceptionGroup: of all the errors.
        """
        if self.errors:
            count = len(self.results) + len(self.errors)
            names = ", ".join(self.errors)
            text = f"{len(self.errors)} of {count} members failed: {names}"
            raise ExceptionGroup(text, list(self.errors.values()))
        return self


class Gathering:
    """Asks several members at the same time: an async iterator of what they answer, as it comes, for one reader.

    Args:
        members: whom.
        ask: asks one.
    """

    def __init__(self, members: Iterable[GroupMember], ask: Callable[[GroupMember], Coroutine[Any, Any, Any]]) -> None:
        self._asked = {asyncio.create_task(ask(member)): member for member in members}
        self._untaken = len(self._asked)
        self._ended: deque[asyncio.Task[Any]] = deque()
        self._news = Waker()
        for task in self._asked:
            task.add_done_callback(self._over)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        self._news.check_free()
        while self._untaken:
            if self._ended:
                self._untaken -= 1
                return self._outcome(self._ended.popleft())
            await self._news.wait()
        raise StopAsyncIteration

    async def all(self) -> Outcomes:
        """What all have answered."""
        results, errors = {}, {}
        if self._asked:
            await asyncio.wait(self._asked)
        for task, member in self._asked.items():
            outcome = self._outcome(task)
            if outcome.error is None:
                results[member.name] = outcome.result
            else:
                errors[member.name] = outcome.error
        return Outcomes(results, errors)

    async def close(self) -> None:
        """Ends what is still under way. For a task that waits for an outcome there is none."""
        self._untaken = 0
        self._news.wake()
        running = [task for task in self._asked if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for task in self._asked:
            if not task.cancelled():
                task.exception()  # of those that nobody has looked at
        self._asked.clear()
        self._ended.clear()

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._ended.append(task)
        self._news.wake()

    def _outcome(self, task: asyncio.Task[Any]) -> Outcome:
        error = task.exception()
        if error is None:
            return Outcome(self._asked[task].shown, task.result())
        if not isinstance(error, MpzmqError):
            try:
                raise error
            finally:
                del error, task  # either keeps the error, whose traceback keeps this frame
        return Outcome(self._asked[task].shown, error=error.with_traceback(None))
