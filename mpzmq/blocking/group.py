"""A group for programs without an event loop."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from ..common.daemon_threads import in_daemon_thread
from ..common.durations import checked_wait
from ..common.set_module import set_module
from ..config import DEFAULT_GROUP, DEFAULT_HEARTBEAT, DEFAULT_LIMITS, DEFAULT_RECONNECT
from ..engine.streams import checked_items
from ..errors import NotConnected
from ..protocol.requester.options import UNSET
from .handle import BlockingContainer, forget
from .loop_thread import Closed, LoopThread, worker_with
from .request_methods import BlockingRequests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from uuid import UUID

    from ..config import GroupPolicy, HeartbeatPolicy, Limits, ReconnectPolicy
    from ..engine.group import Group
    from ..engine.outcomes import Outcome, Outcomes
    from ..engine.resolvers import Endpoint, Resolver
    from ..handlers.middleware import CallDetails, Proceed
    from ..models import Member, Progress
    from ..protocol.requester.options import _U
    from ..security.credentials import Security
    from ..statistics import GroupStatistics
    from .options_view import BlockingOptionsView

__all__ = ["BlockingGroup", "group"]

_END = object()


@set_module("mpzmq.blocking")
def group(
    source: str | Sequence[str | Endpoint] | Resolver,
    *,
    name: str | None = None,
    policy: GroupPolicy = DEFAULT_GROUP,
    wait: bool = True,
    timeout: float | None = 5.0,
    reconnect: ReconnectPolicy = DEFAULT_RECONNECT,
    heartbeat: HeartbeatPolicy = DEFAULT_HEARTBEAT,
    limits: Limits = DEFAULT_LIMITS,
    security: Security | None = None,
    typed: bool = False,
    middleware: Iterable[Callable[[CallDetails, Proceed], Awaitable[Any]]] = (),
) -> BlockingGroup:
    """Several containers that do the same, asked as one; see :meth:`mpzmq.ComputerEngineWorker.group`.

    Args:
        source: who its members are, as there.
        name: what the group is called in errors and logs; by default its source.
        policy: whom it asks, and whether it asks another one then.
        wait: False: returns at once, and dials in the background.
        timeout: seconds until one member is to be ALIVE.
        reconnect: how lost links are redialled.
        heartbeat: how the life of its members is judged.
        limits: bounds on everything that could grow.
        security: the engine's keys, and the containers'; None: plain.
        typed: values may be of the application's types; see :class:`mpzmq.ComputerEngineWorker`.
        middleware: around every call, the first one outermost; see :meth:`mpzmq.ComputerEngineWorker.middleware`. It
            runs on the event loop of the handle, in a thread of its own.

    Returns:
        The group. Close it, or use it in a ``with`` statement.

    Raises:
        ConnectError: no member could be reached in time.
        ValueError, TypeError: the source is malformed, or is none.
    """
    policies: dict[str, Any] = {"reconnect": reconnect, "heartbeat": heartbeat, "limits": limits}
    thread = LoopThread(worker_with(middleware, **policies, security=security, typed=typed))
    try:
        opened = thread.do(lambda: thread.worker.group(source, name=name, policy=policy, wait=wait, timeout=timeout))
        return BlockingGroup(thread, opened)
    except BaseException:
        thread.close()
        raise


@set_module("mpzmq.blocking")
class BlockingGroup(BlockingRequests):
    """Several containers that do the same; :func:`group` returns it. Any thread may use it, several at a time."""

    def __init__(self, thread: LoopThread, group: Group, *, is_view: bool = False) -> None:
        super().__init__(thread, group, group.name)
        self._group = group
        self._forgotten = None if is_view else weakref.finalize(self, forget, thread, repr(self))

    def __repr__(self) -> str:
        return f"<BlockingGroup {self.name!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self, timeout: float = 0.0) -> None:
        """Ends the group and the thread behind it; idempotent, from any thread. Of a view: nothing happens.

        Args:
            timeout: seconds for what is in flight; what is left then ends with ``ConnectionClosed``.
        """
        checked_wait(timeout)
        if self._forgotten is not None:
            self._forgotten.detach()
            self._thread.close(timeout)

    @property
    def name(self) -> str:
        """What the group is called in errors and logs."""
        return self._group.name

    @property
    def members(self) -> tuple[Member, ...]:
        """Its members, as they are now."""
        return self._group.members

    def statistics(self) -> GroupStatistics:
        """The counters of the group."""
        return self._group.statistics()

    def handle(self, name: str) -> BlockingContainer:
        """The handle of one member, to talk to that one and no other.

        Args:
            name: of the member.

        Returns:
            Its handle, which ends with the group.

        Raises:
            KeyError: there is no such member.
        """
        return BlockingContainer(self._thread, self._group.handle(name), is_member=True)

    def where(self, **labels: str) -> BlockingGroup:
        """The members that have these labels, now and later; see :meth:`mpzmq.Group.where`.

        Args:
            labels: what they have, all of them.

        Returns:
            A view, which ends with the group.
        """
        return BlockingGroup(self._thread, self._group.where(**labels), is_view=True)

    def wait_ready(self, members: int = 1, timeout: float | None = 30.0) -> None:
        """Waits until so many members can be talked to.

        Args:
            members: how many.
            timeout: seconds; None: any time.

        Raises:
            ConnectError: that was not so in time.
        """
        self._do(lambda: self._group.wait_ready(members, timeout))

    @contextlib.contextmanager
    def hold(self, name: str, timeout: float | None = 30.0) -> Iterator[BlockingContainer]:
        """``with group.hold("a") as container``: the member gets no new requests of this group in the block.

        Args:
            name: of the member.
            timeout: seconds for what is in flight; None: any time.

        Raises:
            KeyError: there is no such member.
            TimeoutError: something was still in flight.
        """
        held = self._group.hold(name, timeout)
        writer = self._do(held.__aenter__)
        try:
            yield BlockingContainer(self._thread, writer, is_member=True)
        finally:
            self._leave(held)

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
    ) -> BlockingOptionsView:
        """The group, asked with these options: every keyword of a call of the view goes to the function.

        Args:
            timeout: seconds for the whole of each, all tries and waits together.
            idempotent: whether it may run twice: after a lost connection it is sent to another member.
            wait: whether to wait, within the timeout, for a member that can be asked.
            metadata: str keys and their values; the handler finds it in its context.
            request_id: the id of the one request that is made; not for streams and uploads.
            idle_timeout: seconds without an item; None: any time.
            lost_after: seconds for which what was sent waits for a member that is DOWN.
            progress: called with a :class:`mpzmq.Progress` as parts of a large request or reply pass.
            key: the same key goes to the same member, as long as that can be asked.
            hedge_after: seconds without an answer after which another member is asked, too.

        Returns:
            The view, to be used once or as often as one likes.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: an option is out of its range.
        """
        return self._viewed(
            self._group.options(
                timeout=timeout,
                idempotent=idempotent,
                wait=wait,
                metadata=metadata,
                request_id=request_id,
                idle_timeout=idle_timeout,
                lost_after=lost_after,
                progress=progress,
                key=key,
                hedge_after=hedge_after,
            )
        )

    def check(self, interface: type, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> None:
        """Compares an interface with what each member offers; see :meth:`mpzmq.Group.check`.

        The interface is that of :meth:`of`, with ``def``.

        Args:
            interface: the class.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for links that are dialled, drain or are full.

        Raises:
            TypeError: members do not offer that, each of them named, and where they differ; or it is no interface.
            NotConnected: there are no members, or one of them cannot be asked.
            Unsupported: a member is not typed, so that it has no schema.
            RequestError: one of its subclasses, for a member that could not be asked.
        """
        self._do(lambda: self._group.check(interface, timeout=timeout, wait=wait, blocking=True))

    def call_all(
        self,
        function: str,
        /,
        *args: Any,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Outcomes:
        """Calls a named function of every member; see :meth:`mpzmq.Group.call_all`.

        Args:
            function: the name of the function.
            args: passed to it by position.
            timeout: seconds for all of them together.
            idempotent: whether it may run twice.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            What each has answered.
        """
        options: dict[str, Any] = {"timeout": timeout, "idempotent": idempotent, "metadata": metadata}
        return self._do(lambda: self._group.call_all(function, *args, **options, **kwargs))

    def call_each(
        self,
        function: str,
        arguments: Mapping[str, Sequence[Any]],
        /,
        *,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
    ) -> Outcomes:
        """Calls a named function of some members, each with arguments of its own; see :meth:`mpzmq.Group.call_each`.

        Args:
            function: the name of the function.
            arguments: by the name of the member, a sequence of what is passed to it by position.
            timeout: seconds for all of them together.
            idempotent: whether it may run twice.
            metadata: str keys and their values; the handler finds it in its context.

        Returns:
            What each of them has answered.
        """
        options: dict[str, Any] = {"timeout": timeout, "idempotent": idempotent, "metadata": metadata}
        return self._do(lambda: self._group.call_each(function, arguments, **options))

    def each(
        self,
        function: str,
        /,
        *args: Any,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> contextlib.AbstractContextManager[Iterator[Outcome]]:
        """``with group.each("status") as outcomes: for outcome in outcomes``: of every member, as it comes.

        Args:
            function: the name of the function.
            args: passed to it by position.
            timeout: seconds for all of them together.
            idempotent: whether it may run twice.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            The outcomes, to be entered.
        """
        options: dict[str, Any] = {"timeout": timeout, "idempotent": idempotent, "metadata": metadata}
        return self._iterated(self._group.each(function, *args, **options, **kwargs))

    def map(
        self,
        function: str,
        items: Iterable[Any],
        /,
        *,
        ordered: bool = True,
        concurrency: int | None = None,
        return_exceptions: bool = False,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
    ) -> contextlib.AbstractContextManager[Iterator[Any]]:
        """``with group.map("render", frames) as results: for result in results``: one call for each item.

        See :meth:`mpzmq.Group.map`. What is no sequence is iterated in other threads, one item at a time.

        Args:
            function: the name of the function, which gets one item by position.
            items: the items.
            ordered: whether the results come in the order of the items, or as they end.
            concurrency: calls under way at the same time; None: so many for each member.
            return_exceptions: whether an error is a result; else the first one is raised.
            timeout: seconds for each item, from when it is sent.
            idempotent: whether it may run twice.
            metadata: str keys and their values; the handler finds it in its context.

        Returns:
            The results, to be entered.
        """
        checked = checked_items(items)
        return self._iterated(
            self._group.map(
                function,
                checked if isinstance(checked, Sequence) else _taken_elsewhere(checked),
                ordered=ordered,
                concurrency=concurrency,
                return_exceptions=return_exceptions,
                timeout=timeout,
                idempotent=idempotent,
                metadata=metadata,
            )
        )

    @contextlib.contextmanager
    def _iterated(self, block: AbstractAsyncContextManager[AsyncIterator[Any]]) -> Iterator[Iterator[Any]]:
        """A block of the event loop's, and what it iterates, for this thread."""
        results = self._do(block.__aenter__)

        def each() -> Iterator[Any]:
            async def one() -> Any:
                return await anext(results, _END)

            while (item := self._do(one)) is not _END:
                yield item

        try:
            yield each()
        finally:
            self._leave(block)

    def _leave(self, block: AbstractAsyncContextManager[Any]) -> None:
        with contextlib.suppress(Closed):  # the group was closed in the block, and has ended it
            self._thread.do(lambda: block.__aexit__(None, None, None))

    def _closed(self) -> NotConnected:
        return NotConnected(f"group {self.name!r} was not asked: it is closed; open another one", name=self.name)


async def _taken_elsewhere(items: Iterable[Any]) -> AsyncIterator[Any]:
    """Items whose source may block."""
    iterator = iter(items)

    def taken() -> Any:
        return next(iterator, _END)

    while (item := await in_daemon_thread("mpzmq-items", taken)) is not _END:
        yield item
