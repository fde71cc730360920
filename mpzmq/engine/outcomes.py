"""What all members of a group have answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ..common.set_module import set_module
from ..errors import MpzmqError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable

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
    """Asks several members at the same time.

    Args:
        members: whom.
        ask: asks one.
    """

    def __init__(self, members: Iterable[GroupMember], ask: Callable[[GroupMember], Coroutine[Any, Any, Any]]) -> None:
        self._ended: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
        self._asked = {asyncio.create_task(ask(member)): member for member in members}
        for task in self._asked:
            task.add_done_callback(self._ended.put_nowait)

    async def outcomes(self) -> AsyncGenerator[Outcome, None]:
        """What they answer, as it comes."""
        for _ in range(len(self._asked)):
            yield self._outcome(await self._ended.get())

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
        """Ends what is still under way."""
        running = [task for task in self._asked if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for task in self._asked:
            if not task.cancelled():
                task.exception()  # of those that nobody has looked at
        self._asked.clear()

    def _outcome(self, task: asyncio.Task[Any]) -> Outcome:
        error = task.exception()
        if error is None:
            return Outcome(self._asked[task].shown, task.result())
        if not isinstance(error, MpzmqError):
            raise error
        return Outcome(self._asked[task].shown, error=error.with_traceback(None))
