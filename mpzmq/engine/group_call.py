"""One request of a group that needs more than one look: its tries, and its waits for a member."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, cast
from uuid import UUID

from ..context import current
from ..errors import (
    ConnectionLost,
    ContainerStopped,
    NotConnected,
    Overloaded,
    RequestError,
    RequestIdReused,
    RequestTimeout,
)
from ..models import Executed, Member
from ..protocol.group.tries import Tries
from ..protocol.requester.options import UNSET

if TYPE_CHECKING:
    from ..models import Call
    from ..protocol.requester.options import Options
    from .group_member import GroupMember
    from .group_state import GroupState, Room

__all__ = ["GroupCall"]


class GroupCall:
    """One request of a group.

    Args:
        state: the group's books.
        room: the members that it may go to.
        options: how it is to be treated.
        began: when it was made.
        key: what belongs to one of the members; None: any may be asked.
        tag: the id that its caller has chosen; None: none.
        facts: what is asked, for whoever chooses by a function.
        tries: those that it shares with a hedge, which asks nobody whom the other has asked.
    """

    def __init__(
        self,
        state: GroupState,
        room: Room,
        options: Options,
        began: float,
        key: bytes | None,
        tag: bytes | None,
        facts: Call | None,
        tries: Tries | None = None,
    ) -> None:
        self._state = state
        self._room = room
        self._options = options
        self._key = key
        self._tag = tag
        self._facts = facts
        self._is_hedged = tries is not None
        self.tries = tries or Tries(state.policy.max_attempts, options.idempotent, state.budget)
        deadline = None if options.timeout is None else began + options.timeout
        context = current.get()
        if context is not None and context.deadline is not None:
            deadline = context.deadline if deadline is None else min(deadline, context.deadline)
        self._deadline = deadline
        self._full: set[GroupMember] = set()  # whose links had no room for one that is so large
        self._last: RequestError | None = None
        self._has_left = False  # whether that was said by a container, and not by its link
        self._was_taken = False  # whether whom it asks now had taken its id before

    async def next_member(self) -> tuple[GroupMember, Options]:
        """Whom to ask next, as soon as there is somebody, and with which options.

        Raises:
            RequestError: nobody may be asked, or not in time.
            ValueError: a reply was received under its id.
        """
        state = self._state
        has_waited = False
        while True:
            now = state.loop.time()
            if state.is_closed:
                if self._last is not None:
                    raise self._refusal()  # what had left has its own error, whatever was to come behind it
                raise self._summed_up(NotConnected, f"{state.whom} was closed")
            # First come, first served: who waits longer goes first.
            member = self._choose(now) if has_waited or not (self._is_plain and self._room.queue.waiting) else None
            if member is not None:
                if self._tag is not None:
                    self._was_taken = member in self._taken()
                    state.ids.on_sent(self._tag, member)
                self.tries.asked.add(member)
                if self._is_hedged:
                    self.tries.passed.add(member)
                state.retried += self._last is not None
                return member, self._options_at(now)
            if (
                not self._options.wait
                or self._are_all_stopped()
                or (isinstance(self._last, Overloaded | ContainerStopped) and self._has_left)
            ):
                raise self._refusal()
            if self._deadline is not None and now >= self._deadline:
                raise self._timed_out()
            await self._wait()
            has_waited = True

    def on_not_sent(self, member: GroupMember) -> None:
        """Its caller has left, or it cannot be carried, and nothing of it has left this process."""
        if self._tag is not None and not self._was_taken:
            self._state.ids.on_not_run(self._tag, member)

    def on_error(self, member: GroupMember, error: RequestError, *, left: bool) -> None:
        """What a member was asked has failed.

        Args:
            member: who was asked.
            error: what came of it.
            left: whether it has left this process.

        Raises:
            RequestError: no other member is to be asked: the error of the whole.
        """
        state, tag, now = self._state, self._tag, self._state.loop.time()
        self.tries.on_error(member, member.shown, error, left=left)
        if not left and isinstance(error, Overloaded) and member.has_room:
            self._full.add(member)  # as large as this one is
            self.tries.passed.add(member)
        if tag is not None:
            if tag in member.answered_ids:
                state.ids.on_answered(tag)
            elif error.executed is Executed.NO and not isinstance(error, RequestIdReused):
                state.ids.on_not_run(tag, member)
        self._last, self._has_left = error, left
        is_over = self._deadline is not None and now >= self._deadline
        if is_over or not self.tries.may_go_on(error, now, left=left):
            whole = self.tries.summed_up(error)
            try:
                raise whole from None
            finally:
                self._last = None  # whoever keeps this frame is not to keep the error, which keeps the frame
                del whole

    def _choose(self, now: float) -> GroupMember | None:
        state, passed = self._state, cast("set[GroupMember]", self.tries.passed)
        if self._tag is not None:
            if state.ids.is_answered(self._tag):
                raise ValueError(
                    "a reply was received under this request id already: every request needs an id of its own"
                )
            # Whom this request itself has asked may be followed by others, as it may run twice, or has not run.
            if taken := tuple(member for member in self._taken() if member not in self.tries.asked):
                return self._of_those(taken)
        pool = self._room.pool
        pick = state.policy.pick
        if isinstance(pick, str) or self._key is not None:
            return pool.choose(now, self._key, passed)
        able = {member.name: member.shown for member in pool.able(now, passed)}
        if not able:
            return None
        assert self._facts is not None
        chosen: object = pick(tuple(able.values()), self._facts)
        if isinstance(chosen, Member) and chosen.name in able:
            return state.members[chosen.name]
        if inspect.isawaitable(chosen):
            if inspect.iscoroutine(chosen):
                chosen.close()
            raise TypeError("GroupPolicy.pick has returned something to be awaited: it is to return a member")
        kind = f"{chosen.name!r}" if isinstance(chosen, Member) else f"an object of type {type(chosen).__name__}"
        raise ValueError(f"GroupPolicy.pick has chosen {kind}, which is none of the members it was given")

    def _of_those(self, taken: tuple[GroupMember, ...]) -> GroupMember | None:
        """Of the members that took its id, one that can be asked now: only they know what became of it."""
        state = self._state
        current_members = list(state.members.values())
        for member in taken:
            if member not in current_members:
                raise self._summed_up(
                    ConnectionLost,
                    f"{state.whom} was not asked again: member {member.name!r}, which took this request id, has left",
                )
        known = (member for member in current_members if member in taken)
        return next((member for member in known if member.is_able and not member.holds), None)

    @property
    def _is_plain(self) -> bool:
        """Whether any member will do: a key, too, is taken by others while its own member cannot be asked."""
        return not self.tries.passed and self.tries.asked.issuperset(self._taken())

    def _options_at(self, now: float) -> Options:
        left = UNSET if self._deadline is None else self._deadline - now
        return self._options.of_one_try().but(left, UNSET)

    async def _wait(self) -> None:
        """Waits until somebody may be asked, perhaps.

        Raises:
            RequestTimeout: nobody could be in time.
        """
        state, queue = self._state, self._room.queue
        is_over = False
        try:
            async with asyncio.timeout_at(self._deadline):
                if self._is_plain:
                    pool = self._room.pool
                    state.in_line += 1
                    try:
                        await queue.wait(lambda: state.is_closed or pool.is_open(state.loop.time()))
                    finally:
                        state.in_line -= 1
                else:
                    await state.change()
        except TimeoutError:
            is_over = True
        if is_over:
            # Not where that was caught: its traceback has the Timeout, which has the task, which may end with this.
            raise self._timed_out()
        self.tries.passed -= self._full
        self._full.clear()

    def _refusal(self) -> RequestError:
        """Why nobody is asked now."""
        state = self._state
        if self._last is not None:
            return self.tries.summed_up(self._last)
        if self._are_all_stopped():
            text = f"{state.whom} was not asked: its members are stopped; set their status to RUNNING first"
            return self._summed_up(ContainerStopped, text)
        members = self._room.pool.members()
        if self._taken():
            text = f"{state.whom} was not asked again: the member that took this request id cannot be asked now"
        elif any(member.is_able and not member.holds for member in members):
            full = "its members are full (max_in_flight, or Limits.in_flight)"
            return self._summed_up(Overloaded, f"{state.whom} was not asked: {full}; pass wait=True to wait")
        else:
            text = f"{state.whom} was not asked: {self._room.states(self._state.loop.time())}; pass wait=True to wait"
        return self._summed_up(NotConnected, text)

    def _are_all_stopped(self) -> bool:
        """Whether there are members, and all of them refuse what they are asked, for as long as somebody wants."""
        members = self._room.pool.members()
        return bool(members) and all(member.link.is_running and not member.is_able for member in members)

    def _taken(self) -> tuple[GroupMember, ...]:
        """The members that may have run what was asked under its id."""
        return () if self._tag is None else self._state.ids.taken_by(self._tag)

    def _timed_out(self) -> RequestError:
        """Nobody could be asked in time."""
        text = f"{self._state.whom} could not be asked in time: {self._room.states(self._state.loop.time())}"
        kind = RequestTimeout if self._room.pool.members() or self.tries.attempts else NotConnected
        return self._summed_up(kind, text)

    def _summed_up(self, kind: type[RequestError], text: str) -> RequestError:
        tag = self._tag
        # Under an id that a member took it may have run there.
        executed = Executed.UNKNOWN if self._taken() else Executed.NO
        request_id = None if tag is None else UUID(bytes=tag)
        error = kind(text, request_id=request_id, name=self._state.name, executed=executed)
        return self.tries.summed_up(error)
