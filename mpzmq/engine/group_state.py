"""What a group and its views have in common: the members, what has become of requests, and who waits."""

from __future__ import annotations

import dataclasses
import math
import random
import time
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ..common.logs import Log
from ..errors import ConnectionLost, NotConnected
from ..events import LinkDown, LinkUp, MemberEjected, MemberReturned
from ..protocol.group.chosen_ids import ChosenIds
from ..protocol.group.ejection import Ejection, speaks_of_member
from ..protocol.group.picking import picker
from ..protocol.group.pool import Pool
from ..protocol.group.retry_budget import RetryBudget
from ..runtime.waiters import ChangeNotifier, FairQueue
from ..statistics import GroupStatistics
from .event_stream import EventStream

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from ..config import GroupPolicy, Limits
    from ..events import LinkEvent
    from ..runtime.loop_bound import LoopBound
    from .group_member import GroupMember

__all__ = ["GroupState", "Room"]

log = Log(__name__)


LOOK = 1e-5
"""Seconds for each member during which nobody looks at all of them again, only to say how they are: a thousand requests
may end while ten thousand members are away."""


class Room:
    """Some members of a group, and who waits until one of them may be asked.

    Args:
        pool: says who may be asked.
    """

    def __init__(self, pool: Pool[GroupMember]) -> None:
        self.pool = pool
        self.queue = FairQueue()
        self._told = ""
        self._told_until = -math.inf

    def states(self, now: float) -> str:
        """How many of the members are in which state, in words."""
        if now >= self._told_until:
            members = self.pool.members()
            self._told, self._told_until = _in_words(members), now + LOOK * len(members)
        return self._told


class GroupState:
    """The books of a group.

    Args:
        name: what the group is called in errors and logs.
        policy: whom it asks.
        limits: the worker's bounds.
        loop_bound: the event loop that it belongs to.
    """

    def __init__(self, name: str, policy: GroupPolicy, limits: Limits, loop_bound: LoopBound) -> None:
        self.name = name
        self.policy = policy
        self.limits = limits
        self.loop = loop_bound.require()
        self.members: dict[str, GroupMember] = {}
        self.ids: ChosenIds[GroupMember] = ChosenIds()
        self.budget = RetryBudget(policy.retry_ratio, policy.retry_floor)
        self.is_closed = False
        self.retried = self.hedged = 0
        self.in_line = 0
        """Requests that wait in the queue of a room."""
        self._loop_bound = loop_bound
        self._ejection = Ejection(policy)
        self._counts = {"issued": 0, "replied": 0, "cancelled": 0}
        self._errors: dict[str, int] = {}
        self._picker = picker(policy.pick if isinstance(policy.pick, str) else "least", random.random)
        self._rooms: weakref.WeakSet[Room] = weakref.WeakSet()
        self._changes = ChangeNotifier(self.loop)
        self._listeners: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._timer: asyncio.TimerHandle | None = None

    def room(self, labels: Mapping[str, str]) -> Room:
        """The members with these labels, now and later."""
        pool = Pool(self.members, labels, self._picker, self.policy.max_in_flight, random.random)
        room = Room(pool)
        self._rooms.add(room)
        return room

    # Requests

    def begin(self) -> float:
        """A request is made. Returns the time.

        Raises:
            NotConnected: the group is closed.
            RuntimeError: this is another event loop or thread.
        """
        now = self._loop_bound.require().time()
        if self.is_closed:
            raise NotConnected(f"{self.whom} was not asked: it is closed", name=self.name)
        self._counts["issued"] += 1
        self.budget.deposit(now)
        return now

    def end(self, error: BaseException | None) -> None:
        """A request has ended."""
        if isinstance(error, Exception):
            name = type(error).__name__
            self._errors[name] = self._errors.get(name, 0) + 1
        else:
            self._counts["replied" if error is None else "cancelled"] += 1

    def on_asked(self, member: GroupMember) -> None:
        """A member gets a request."""
        member.in_flight += 1

    def on_answered(self, member: GroupMember, error: BaseException | None, asked_at: float, *, left: bool) -> None:
        """What a member had got has ended.

        Args:
            member: whose it was.
            error: with which; None: with a reply.
            asked_at: when it was asked.
            left: whether that has left this process.
        """
        member.in_flight -= 1
        if error is None:
            now = self.loop.time()
            self._picker.on_ended(member, now - asked_at, now)
            if member.errors:
                self._ejection.on_answer(member)
        else:
            if left:
                now = self.loop.time()
                self._picker.on_given_up(member, now - asked_at, now)
            if isinstance(error, Exception):
                self._on_error(member, error, left=left)
        if self._changes.has_waiters or self.in_line:
            self._wake()

    def on_stream_over(self, member: GroupMember, error: BaseException | None) -> None:
        """What went piece by piece has ended: how long it took says nothing of how soon a member answers."""
        member.in_flight -= 1
        if isinstance(error, Exception):
            self._on_error(member, error, left=True)
        elif error is None:
            self._ejection.on_answer(member)
        self.on_room()

    def on_room(self) -> None:
        """A member may take one more request, perhaps."""
        if self._changes.has_waiters or self.in_line:
            self._wake()

    @property
    def whom(self) -> str:
        """The group, as errors name it."""
        return f"group {self.name!r}"

    def statistics(self) -> GroupStatistics:
        """The counters."""
        # Each once, and the requests that were issued last: the event loop may go on while a thread asks.
        counts, errors = self._counts, dict(self._errors)
        failed, replied, cancelled = sum(errors.values()), counts["replied"], counts["cancelled"]
        issued = counts["issued"]
        return GroupStatistics(
            issued=issued,
            replied=replied,
            failed=failed,
            cancelled=cancelled,
            in_flight=issued - replied - failed - cancelled,
            retried=self.retried,
            hedged=self.hedged,
            ejections=self._ejection.count,
            errors=errors,
        )

    # Changes

    def refresh(self, member: GroupMember | None = None) -> None:
        """Something has changed of the members, or only of the link of one of them: who waits looks again."""
        now = self.loop.time()
        for room in list(self._rooms):
            room.pool.refresh(member, now)
        self._wake()

    async def change(self) -> None:
        """Waits until something has changed of the members, or one of their requests has ended."""
        await self._changes.wait()

    def listen(self) -> EventStream:
        """A new listener."""
        stream = EventStream(None, self.limits.events)
        if self.is_closed:
            stream.end()
        else:
            self._listeners.add(stream)
        return stream

    def on_link_event(self, member: GroupMember, event: LinkEvent) -> None:
        """Something has happened to a member's link."""
        if self.members.get(member.name) is member:
            if isinstance(event, LinkDown):
                member.is_loss_counted = False
            if isinstance(event, LinkUp) and event.instance != member.greeted:
                member.up_since, member.greeted = self.loop.time(), event.instance
            self.refresh(member)
        self._tell(dataclasses.replace(event, member=member.shown))

    def publish(self, kind: type[LinkEvent], member: GroupMember, reason: str) -> None:
        """Something has happened to a member."""
        log.info("%s: %s %r (%s)", self.whom, kind.__name__, member.name, reason)
        self._tell(kind(member.writer.remote_id, member.name, time.time(), reason, member=member.shown))

    def close(self) -> None:
        """Nothing more is asked; who waits is told."""
        self.is_closed = True
        self._disarm()
        self.refresh()
        for stream in list(self._listeners):
            stream.end()

    def _tell(self, event: LinkEvent) -> None:
        for stream in list(self._listeners):
            stream.publish(event)

    def _wake(self) -> None:
        self._changes.notify_all()
        for room in self._rooms:
            room.queue.wake()

    def _on_error(self, member: GroupMember, error: Exception, *, left: bool) -> None:
        if not speaks_of_member(error, left=left):
            if left:  # it is an answer
                self._ejection.on_answer(member)
            return
        if isinstance(error, ConnectionLost):
            if member.is_loss_counted:
                return
            member.is_loss_counted = True
        now = self.loop.time()
        if self._ejection.on_error(member, self.members.values(), now):
            assert member.ejected_until is not None
            seconds = member.ejected_until - now
            self.publish(MemberEjected, member, f"{self.policy.eject_errors} errors, for {seconds:g} s: {error}")
            self.refresh()
            self._arm()

    def _arm(self) -> None:
        self._disarm()
        when = self._ejection.next_return(self.members.values())
        if when is not None and not self.is_closed:
            # In none of its own: a timer holds its context, here that of a request.
            self._timer = self.loop.call_at(when, self._take_back, context=Context())

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _take_back(self) -> None:
        self._timer = None
        back: list[Any] = self._ejection.take_back(self.members.values(), self.loop.time())
        for member in back:
            member.up_since = self.loop.time()
            self.publish(MemberReturned, member, "it was left out for long enough")
        if back:
            self.refresh()
        self._arm()


def _in_words(members: list[GroupMember]) -> str:
    if not members:
        return "it has no members"
    counted: dict[str, int] = {}
    for member in members:
        state = "held" if member.holds else "stopped" if member.link.is_running else str(member.link.state)
        state = "full" if member.is_able and not member.holds else state
        counted[state] = counted.get(state, 0) + 1
    return "its members are " + ", ".join(f"{state} ({count})" for state, count in counted.items())
