"""Group: several containers that do the same, asked as one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..common.durations import checked_seconds, checked_timeout
from ..common.set_module import set_module
from ..errors import NotConnected
from ..events import MemberHeld, MemberReturned
from ..protocol.group.rendezvous import written_key
from ..protocol.requester.options import UNSET, Options
from ..protocol.wire.kinds import Op
from ..typed.interface import methods_of
from .arguments import checked_count, checked_function
from .group_map import MapRun
from .group_sender import GroupSender
from .group_state import GroupState
from .membership import Membership
from .middleware_sender import Facts
from .options_view import options_view
from .outcomes import Gathering
from .request_methods import RequestMethods
from .streams import each_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from ..config import GroupPolicy
    from ..models import Member, Progress
    from ..protocol.requester.options import _U
    from ..security.credentials import Security
    from ..statistics import GroupStatistics
    from .event_stream import EventStream
    from .group_member import GroupMember
    from .membership import GroupHost
    from .options_view import OptionsView
    from .outcomes import Outcome, Outcomes
    from .resolvers import Source
    from .writer import ComputerEngineWriter

__all__ = ["Group", "opened_group"]

JOBS = 8
"""Jobs of ``map()`` that one member has at the same time, where neither the caller nor the policy says otherwise: most
of them wait for their turn, so that a container is never idle for a round trip."""


@set_module("mpzmq")
class Group(RequestMethods):
    """Several containers that do the same, asked as one. ``worker.group()`` returns it; users make none.

    It has the methods of one container's handle. Each request goes to one member; where nothing has run there, and the
    error speaks of the member, it goes to another one, as :class:`GroupPolicy` says. An error has ``tried``: who was
    asked, and with what result.
    """

    def __init__(self, host: GroupHost, state: GroupState, membership: Membership, labels: Mapping[str, str]) -> None:
        self._host = host
        self._state = state
        self._membership = membership
        self._labels = labels
        self._room = state.room(labels)
        self._group_sender = GroupSender(state, self._room)
        super().__init__(host.outgoing.around(self._group_sender, state.name), Options())

    def __repr__(self) -> str:
        members = self._members()
        up = sum(member.link.is_running for member in members)
        labels = "".join(f" {key}={value}" for key, value in self._labels.items())
        return f"<{type(self).__name__} {self.name!r}{labels} {up} of {len(members)} connected>"

    @property
    def name(self) -> str:
        """What the group is called in errors and logs."""
        return self._state.name

    @property
    def members(self) -> tuple[Member, ...]:
        """Its members, as they are now. Any thread may ask."""
        return tuple(member.shown for member in self._members())

    def handle(self, name: str) -> ComputerEngineWriter:
        """The handle of one member, to talk to that one and no other.

        Args:
            name: of the member.

        Returns:
            Its handle, which ends when the member leaves the group, or the group is closed.

        Raises:
            KeyError: there is no such member.
        """
        return self._member(name).writer

    def where(self, /, **labels: str) -> Group:
        """The members that have these labels, now and later: ``group.where(gpu="1").call("train", job)``.

        Args:
            labels: what they have, all of them.

        Returns:
            A view of this group, which shares everything else with it, such as the retry budget, and ends with it.

        Raises:
            TypeError: a label is not a str.
        """
        for label, value in labels.items():
            if not isinstance(value, str):
                raise TypeError(f"label {label!r} is a str, not {type(value).__name__}: where({label}='{value}')")
        return Group(self._host, self._state, self._membership, {**self._labels, **labels})

    def statistics(self) -> GroupStatistics:
        """The counters of the group, those of its views included. Any thread may ask."""
        return dataclasses.replace(self._state.statistics(), links=self._membership.link_statistics())

    def events(self) -> EventStream:
        """What happens to the members and their links, from now on, each event with its ``member``; ends at close."""
        return self._state.listen()

    async def wait_ready(self, members: int = 1, timeout: float | None = 30.0) -> None:
        """Waits until so many members can be talked to.

        Args:
            members: how many.
            timeout: seconds; None: any time.

        Raises:
            ConnectError: that was not so in time, or none of them can be talked to any more.
            ValueError: ``members`` is less than 1.
        """
        checked_timeout(timeout)
        self._host.loop_bound.require()
        await self._membership.wait_ready(self._members, checked_count(members, "members"), timeout)

    async def close(self) -> None:
        """Ends the group and its links: what is in flight ends with ``ConnectionClosed``. Idempotent."""
        self._host.loop_bound.require()
        self._state.close()
        self._host.groups.pop(self._state, None)
        await self._membership.close()

    @contextlib.asynccontextmanager
    async def hold(self, name: str, timeout: float | None = 30.0) -> AsyncIterator[ComputerEngineWriter]:
        """``async with group.hold("a") as container``: the member gets no new requests of this group in the block.

        It is entered when none of them is in flight there. What is asked through the handle passes.

        Args:
            name: of the member.
            timeout: seconds for what is in flight; None: any time.

        Raises:
            KeyError: there is no such member.
            TimeoutError: something was still in flight.
            NotConnected: the group is closed.
        """
        state, member = self._state, self._member(name)
        checked_timeout(timeout)
        if self._membership.hold(name, 1) == 1:
            state.publish(MemberHeld, member, "hold() was entered")
        try:
            try:
                async with asyncio.timeout(timeout):
                    while member.in_flight and not state.is_closed:
                        await state.change()
            except TimeoutError:
                text = f"member {name!r} has {member.in_flight} requests in flight after {timeout:g} s"
                raise TimeoutError(f"{state.whom}: {text}") from None
            if state.is_closed:
                raise NotConnected(f"{state.whom}: member {name!r} was not held: it is closed", name=state.name)
            yield member.writer
        finally:
            if not self._membership.hold(name, -1):
                state.publish(MemberReturned, state.members.get(name, member), "hold() was left")

    def options(
        self,
        *,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        request_id: UUID | None = None,
        idle_timeout: float | None = None,
        lost_after: float | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
        key: Any = None,
        hedge_after: float | None = None,
    ) -> OptionsView:
        """The group, asked with these options: every keyword of a call of the view goes to the function.

        Args:
            timeout: seconds for the whole of each, all tries and waits together; by default the group's for calls, and
                none for what goes piece by piece.
            idempotent: whether it may run twice: after a lost connection it is sent to another member.
            wait: whether to wait, within the timeout, for a member that can be asked.
            metadata: str keys and their values; the handler finds it in its context.
            request_id: the id of the one request that is made; not for streams, uploads and channels. Issued again, it
                goes to the members that took it, and to no other.
            idle_timeout: seconds without an item; None: any time.
            lost_after: seconds for which what was sent waits for a member that is DOWN; 0: none; None: until its
                deadline. By default that of the group's policy.
            progress: called with a :class:`Progress` as parts of a large request or reply pass.
            key: a str, bytes, int, UUID, or a tuple of these: the same key goes to the same member, as long as that can
                be asked, and to the next in the ranking of that key while it cannot.
            hedge_after: seconds without an answer after which another member is asked, too; the one that is later is
                cancelled. Only with ``idempotent=True``, and not for streams, uploads and channels.

        Returns:
            The view, to be used once or as often as one likes.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: an option is out of its range.
        """
        sender = self._sender
        if key is not None or hedge_after is not None:
            if hedge_after is not None:
                checked_seconds(hedge_after, "hedge_after")
            written = None if key is None else written_key(key)
            picked = GroupSender(self._state, self._room, written, key, hedge_after)
            sender = self._host.outgoing.around(picked, self.name)
        return options_view(
            lambda tag: sender,
            self._defaults,
            timeout=timeout,
            wait=wait,
            idempotent=idempotent,
            metadata=metadata,
            request_id=request_id,
            idle_timeout=idle_timeout,
            lost_after=lost_after,
            progress=progress,
        )

    # Everyone

    async def call_all(
        self,
        function: str,
        /,
        *args: Any,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Outcomes:
        """Calls a named function of every member.

        Args:
            function: the name of the function.
            args: passed to it by position.
            timeout: seconds for all of them together. Left out: as the defaults say.
            idempotent: whether it may run twice.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            What each has answered. A member that is down has failed, and nobody waits for it.
        """
        options = self._defaults.but(timeout, False, idempotent, metadata)
        return await self._all(dict.fromkeys(self._members(), args), function, kwargs, options)

    async def call_each(
        self,
        function: str,
        arguments: Mapping[str, Sequence[Any]],
        /,
        *,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
    ) -> Outcomes:
        """Calls a named function of some members, each with arguments of its own.

        Args:
            function: the name of the function.
            arguments: by the name of the member, a sequence of what is passed to it by position.
            timeout: seconds for all of them together. Left out: as the defaults say.
            idempotent: whether it may run twice.
            metadata: str keys and their values; the handler finds it in its context.

        Returns:
            What each of them has answered.

        Raises:
            KeyError: there is no such member.
            TypeError: ``arguments`` is not a mapping of lists or tuples.
        """
        options = self._defaults.but(timeout, False, idempotent, metadata)
        if not isinstance(arguments, Mapping):
            raise TypeError(f"the arguments are a dict by the name of the member, not {type(arguments).__name__}")
        asked = {self._member(name): checked_arguments(name, given) for name, given in arguments.items()}
        ordered = {member: asked[member] for member in self._members() if member in asked}
        return await self._all(ordered, function, {}, options)

    @contextlib.asynccontextmanager
    async def each(
        self,
        function: str,
        /,
        *args: Any,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> AsyncIterator[AsyncIterator[Outcome]]:
        """``async with group.each("status") as outcomes: async for outcome in outcomes``: of every member, as it comes.

        Leaving the block cancels the rest. Arguments are those of :meth:`call_all`.
        """
        options = self._defaults.but(timeout, False, idempotent, metadata)
        gathering = self._gathering(dict.fromkeys(self._members(), args), function, kwargs, options)
        try:
            yield gathering
        finally:
            await gathering.close()

    # Many jobs

    def map(
        self,
        function: str,
        items: AsyncIterable[Any] | Iterable[Any],
        /,
        *,
        ordered: bool = True,
        concurrency: int | None = None,
        return_exceptions: bool = False,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """``async with group.map("render", frames) as results: async for result in results``: one call for each item.

        Only so many calls are under way at the same time, and only so many items are taken beforehand. Leaving the
        block cancels the rest.

        Args:
            function: the name of the function, which gets one item by position.
            items: from an async iterable or a plain one.
            ordered: whether the results come in the order of the items, or as they end.
            concurrency: calls under way at the same time; None: ``max_in_flight`` for each member that is connected,
                or eight where the policy has none.
            return_exceptions: whether an error is a result; else the first one is raised.
            timeout: seconds for each item, from when it is sent. Left out: as the defaults say.
            idempotent: whether it may run twice.
            metadata: str keys and their values; the handler finds it in its context.

        Returns:
            The results, to be entered.

        Raises:
            ValueError: ``concurrency`` is less than 1.
        """
        options = self._defaults.but(timeout, UNSET, idempotent, metadata)
        if concurrency is not None:
            checked_count(concurrency, "concurrency")
        return self._mapped(
            checked_function(function), each_of(items), options, concurrency, ordered, return_exceptions
        )

    @contextlib.asynccontextmanager
    async def _mapped(
        self,
        function: str,
        items: AsyncIterator[Any],
        options: Options,
        concurrency: int | None,
        ordered: bool,
        return_exceptions: bool,
    ) -> AsyncIterator[AsyncIterator[Any]]:
        def limit() -> int:
            if concurrency is not None:
                return concurrency
            up = sum(member.link.is_running for member in self._members())
            return max(1, up) * (self._state.policy.max_in_flight or JOBS)

        run = MapRun(
            items,
            lambda item: self._sender.call(function, (item,), {}, options, None),
            limit,
            ordered=ordered,
            return_exceptions=return_exceptions,
        )
        try:
            yield run
        finally:
            await run.close()

    # Inside

    async def _all(
        self, asked: Mapping[GroupMember, Sequence[Any]], function: str, kwargs: dict[str, Any], options: Options
    ) -> Outcomes:
        gathering = self._gathering(asked, function, kwargs, options)
        try:
            return await gathering.all()
        finally:
            await gathering.close()

    def _gathering(
        self, asked: Mapping[GroupMember, Sequence[Any]], function: str, kwargs: dict[str, Any], options: Options
    ) -> Gathering:
        name, outgoing = checked_function(function), self._host.outgoing

        def ask(member: GroupMember) -> Coroutine[Any, Any, Any]:
            send = functools.partial(self._group_sender.ask, member, name)
            whom = Facts(Op.CALL, name, member.name, member.writer.remote_id, None)
            return outgoing.through(whom, tuple(asked[member]), kwargs, options, send)

        return Gathering(asked, ask)

    async def check(
        self,
        interface: type,
        *,
        timeout: float | _U | None = UNSET,
        wait: bool | _U = UNSET,
        blocking: bool = False,
    ) -> None:
        """Compares an interface with what each member offers; see :meth:`of` and :meth:`ComputerEngineWriter.check`.

        Args:
            interface: the class.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for links that are dialled, drain or are full.
            blocking: whether it is the interface of a program without an event loop.

        Raises:
            TypeError: members do not offer that, each of them named, and where they differ; or it is no interface.
            NotConnected: there are no members, or one of them cannot be asked.
            Unsupported: a member is not typed, so that it has no schema.
            RequestError: one of its subclasses, for a member that could not be asked.
        """
        methods_of(interface, blocking=blocking)
        self._host.loop_bound.require()
        writers = [member.writer for member in self._members()]
        if not writers:
            raise NotConnected(f"{self._state.whom} has no members whose offer could be compared", name=self.name)
        checks = [writer.check(interface, timeout=timeout, wait=wait, blocking=blocking) for writer in writers]
        errors = [error for error in await asyncio.gather(*checks, return_exceptions=True) if error is not None]
        misfits = [str(error) for error in errors if isinstance(error, TypeError)]
        if misfits:
            raise TypeError("\n".join(misfits))
        if errors:
            raise errors[0]

    def _members(self) -> list[GroupMember]:
        return self._room.pool.members()

    def _member(self, name: str) -> GroupMember:
        members = {member.name: member for member in self._members()}
        if name not in members:
            shown = ", ".join([*members][:8]) + (", ..." if len(members) > 8 else "")
            raise KeyError(f"{self._state.whom} has no member {name!r}; it has {shown or 'none at all'}")
        return members[name]


def checked_arguments(name: str, given: Sequence[Any]) -> Sequence[Any]:
    """The arguments for one member.

    Raises:
        TypeError: they are not a list or tuple.
    """
    if not isinstance(given, list | tuple):
        raise TypeError(f"the arguments for {name!r} are a list or tuple, and not {type(given).__name__}: [value]")
    return given


async def opened_group(
    host: GroupHost,
    source: Source,
    name: str,
    policy: GroupPolicy,
    security: Security | None,
    timeout: float | None,
    *,
    wait: bool,
) -> Group:
    """A group that is open; arguments and errors are those of :meth:`ComputerEngineWorker.group`."""
    state = GroupState(name, policy, host.limits, host.loop_bound)
    membership = Membership(state, host, source, security)
    group = Group(host, state, membership, {})
    host.groups[state] = group
    try:
        await membership.open(timeout, wait=wait)
    except BaseException:
        await group.close()
        raise
    return group
