"""Who belongs to a group: its source is followed, members come, and members go."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from ..common.logs import Log
from ..errors import AddressNotFound, ConnectError, ConnectTimeout
from ..events import LinkDown, LinkFailed, MemberJoined, MemberLeft
from ..models import LinkState
from ..security.credentials import Security
from ..statistics import Statistics
from .group_member import GroupMember

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ..config import Limits
    from ..events import LinkEvent
    from ..protocol.link.link import Link
    from ..runtime.loop_bound import LoopBound
    from .group_state import GroupState
    from .lobby import Lobby
    from .middleware_sender import WorkerMiddleware
    from .resolvers import Endpoint, Source
    from .writer import ComputerEngineWriter

__all__ = ["GroupHost", "Membership"]

log = Log(__name__)

SOURCE_LINGER = 1.0
"""Seconds that a resolver has for its end, when its group is closed."""

_OVER = LinkState.FAILED, LinkState.CLOSED


@dataclass(frozen=True, slots=True)
class GroupHost:
    """What a group needs of its worker.

    Attributes:
        limits: the worker's bounds.
        loop_bound: the event loop that it belongs to.
        open_link: registers a link, and begins to dial.
        disconnect: ends a link.
        groups: those that are not closed.
        outgoing: the worker's middleware.
    """

    limits: Limits
    loop_bound: LoopBound
    open_link: Callable[..., tuple[ComputerEngineWriter, Link]]
    disconnect: Callable[[UUID], Awaitable[None]]
    groups: dict[GroupState, Any]
    outgoing: WorkerMiddleware


class Membership:
    """Who belongs to a group.

    Args:
        state: the group's books.
        host: makes the links.
        source: says who the members are.
        security: the engine's keys for all members; None: it has none.
    """

    def __init__(self, state: GroupState, host: GroupHost, source: Source | Lobby, security: Security | None) -> None:
        self._state = state
        self._host = host
        self._source = source
        self._security = security
        self._following: asyncio.Task[None] | None = None
        self._leaving: dict[asyncio.Task[None], GroupMember] = {}
        self._linked: dict[UUID, GroupMember] = {}
        self._past = Statistics()  # of links that have ended
        self._lock = threading.Lock()  # any thread may ask while they move there
        self._renewals: dict[UUID, asyncio.TimerHandle] = {}
        self._trouble = ""  # why one that was named last is no member
        self._holds: Counter[str] = Counter()  # by name: whoever takes the place of a member that is held is held, too

    async def open(self, timeout: float | None, *, wait: bool) -> None:
        """Begins to follow the source.

        Args:
            timeout: seconds until one member is to be there.
            wait: whether that is waited for.

        Raises:
            ConnectError: none is.
        """
        self._following = asyncio.create_task(self._follow())
        if wait:
            await self.wait_ready(self._state.members.values, 1, timeout)
        else:
            await asyncio.sleep(0)  # members that were listed are there now

    async def wait_ready(self, members: Callable[[], Iterable[GroupMember]], count: int, timeout: float | None) -> None:
        """Waits until so many members can be talked to.

        Args:
            members: those that count.
            count: how many of them.
            timeout: seconds; None: any time.

        Raises:
            ConnectError: that was not so in time, or cannot be any more.
        """
        state, waited = self._state, None
        try:
            async with asyncio.timeout(timeout):
                while sum(member.link.is_running for member in members()) < count:
                    links = [member.writer for member in members()]
                    if state.is_closed or (links and all(link.state in _OVER for link in links)):
                        break
                    await state.change()
                else:
                    return
        except TimeoutError:
            waited = timeout
        raise self._not_ready(list(members()), count, waited)

    def hold(self, name: str, more: int) -> int:
        """One asks that the member of a name gets no new requests (1), or does not any longer (-1).

        Returns:
            How many do.
        """
        self._holds[name] += more
        holds = self._holds[name]
        if not holds:
            del self._holds[name]
        if (member := self._state.members.get(name)) is not None:
            member.holds = holds
        self._state.refresh()
        return holds

    async def close(self) -> None:
        """Ends all links of the group."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait((self._following,), timeout=SOURCE_LINGER)
            if not self._following.done():
                log.warning("%s: watch() of %s does not end, and is given up", self._state.whom, self._source.text)
        for renewal in self._renewals.values():
            renewal.cancel()
        tasks, self._leaving = list(self._leaving), {}
        for task in tasks:
            task.cancel()
        for member in list(self._linked.values()):
            await self._end_link(member)
        if tasks:
            await asyncio.wait(tasks)

    # Following

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._source.watch()) as found:
            async for endpoints in found:
                if self._state.is_closed:
                    break  # it has swallowed its cancellation, and was given up
                self._apply(endpoints)

    def _apply(self, endpoints: Iterable[Endpoint]) -> None:
        members = self._state.members
        named = {endpoint.name: endpoint for endpoint in endpoints}
        for name, member in list(members.items()):
            endpoint = named.get(name)
            if endpoint is None:
                self._leave(member, self._source.why_left(name))
            elif endpoint.place != member.endpoint.place:
                former = member.endpoint
                same = (endpoint.address, endpoint.server_key) == (former.address, former.server_key)
                self._leave(member, self._source.why_left(name) if same else f"it is at {endpoint.address} now")
            else:
                member.describe(endpoint)
        for name, endpoint in named.items():
            if name not in members and (joined := self._linked_to(endpoint)) is not None:
                members[name] = joined
                self._state.publish(MemberJoined, joined, self._source.why_joined(endpoint))
        self._state.refresh()

    def _linked_to(self, endpoint: Endpoint) -> GroupMember | None:
        """A member more, which is being dialled; None: it cannot be, as the log tells."""
        remote_id = uuid4()
        try:
            security = self._security
            if endpoint.server_key is not None:
                if security is None:
                    raise ValueError("it has a server_key, and this engine has no keys: pass security=")
                if not self._source.vouches and endpoint.server_key not in security.server_keys:
                    raise ValueError(
                        "the server_key in its file is none that this engine accepts: name it in Security.client()"
                    )
                security = Security.client(security.keys, endpoint.server_key)
            writer, link = self._host.open_link(
                remote_id,
                endpoint.address,
                endpoint.name,
                security,
                lost_after=self._state.policy.lost_after,
                publish=self._on_event,
            )
        except (OSError, ValueError, TypeError) as error:
            self._trouble = f"{endpoint.name!r} cannot be dialled: {error}"
            log.error("%s: %s", self._state.whom, self._trouble)
            return None
        member = self._linked[remote_id] = GroupMember(endpoint, writer, link)
        member.holds = self._holds[member.name]
        member.sender.watch_room(self._state.on_room)
        return member

    def _leave(self, member: GroupMember, why: str) -> None:
        """A member is not asked any more; what it has goes on to its end."""
        del self._state.members[member.name]
        self._state.publish(MemberLeft, member, why)
        task = asyncio.create_task(self._depart(member))
        self._leaving[task] = member
        task.add_done_callback(lambda task: self._leaving.pop(task, None))

    async def _depart(self, member: GroupMember) -> None:
        while member.in_flight:
            await self._state.change()
        await member.sender.wait_idle()  # what was asked through its handle
        await self._end_link(member)

    async def _end_link(self, member: GroupMember) -> None:
        await self._host.disconnect(member.writer.remote_id)
        with self._lock:
            if self._linked.pop(member.writer.remote_id, None) is not None:
                self._past += member.writer.statistics().totals()

    def link_statistics(self) -> Statistics:
        """The counters of all links of the group, those that have ended included. Any thread may ask."""
        with self._lock:
            members, past = list(self._linked.values()), self._past
        return sum((member.writer.statistics() for member in members), past)

    def _on_event(self, event: LinkEvent) -> None:
        member = self._linked.get(event.remote_id)
        if member is None:
            return
        self._state.on_link_event(member, event)
        if isinstance(event, LinkDown | LinkFailed):
            self._source.poke()
        if isinstance(event, LinkFailed) and not self._state.is_closed:
            # Redials could not help; but another process may serve there in a while.
            seconds = self._state.policy.eject_for
            self._renewals[event.remote_id] = self._state.loop.call_later(seconds, self._renew, member)

    def _renew(self, member: GroupMember) -> None:
        """A link that has FAILED is made anew."""
        self._renewals.pop(member.writer.remote_id, None)
        if self._state.members.get(member.name) is not member:
            return
        successor = self._linked_to(member.endpoint)
        if successor is not None:
            self._state.members[member.name] = successor
            self._state.refresh()
            task = asyncio.create_task(self._depart(member))
            self._leaving[task] = member
            task.add_done_callback(lambda task: self._leaving.pop(task, None))

    def _not_ready(self, members: list[GroupMember], count: int, waited: float | None) -> ConnectError:
        state = self._state
        within = "" if waited is None else f" within {waited:g} s"
        if state.is_closed:
            return ConnectError(f"{state.whom} cannot be talked to: it is closed", name=state.name)
        if not members:
            trouble = self._source.trouble or self._trouble or f"{self._source.text} names none"
            text = f"{state.whom} has no members{within}: {trouble}"
            return AddressNotFound(text, address=self._source.text, name=state.name)
        known = [member.writer.last_error for member in members if not member.link.is_running]
        errors = [error for error in known if error is not None]
        kinds = {type(error) for error in errors}
        kind = kinds.pop() if len(kinds) == 1 and len(errors) == len(known) else ConnectTimeout
        up = sum(member.link.is_running for member in members)
        text = (
            f"{state.whom} is not ready{within}: {up} of its {len(members)} members can be talked to, and not {count}"
        )
        if errors:
            text += f"; the first of the others: {errors[0]}"
        return kind(text, address=self._source.text, name=state.name)
