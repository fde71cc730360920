"""Requests to any container of a worker."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from ..common.set_module import set_module
from ..errors import NotConnected
from ..models import Executed, Method, Params
from ..protocol.requester.options import UNSET, Options
from .arguments import checked_id, checked_remote
from .options_view import options_view

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping

    from ..models import Description, Progress, Status
    from ..protocol.requester.options import _U
    from ..protocol.requester.request_ids import EndedIds
    from ..statistics import ServerStatistics, Statistics
    from .event_stream import EventStream
    from .middleware_sender import MiddlewareSender
    from .options_view import OptionsView
    from .request_sender import RequestSender
    from .streams import Channel, ReplyStream

__all__ = ["EngineService", "Handle", "ServiceWorker"]


class Handle(Protocol):
    """What a service needs of a container's handle."""

    @property
    def sender(self) -> RequestSender:
        """The way out for what is asked of the container itself."""

    @property
    def way_out(self) -> RequestSender | MiddlewareSender:
        """The way out for requests to its handlers."""


class ServiceWorker(Protocol):
    """What a service needs of its worker."""

    ended_ids: EndedIds

    def get_engine(self, remote_id: UUID) -> Handle | None:
        """The handle of a container."""

    def listen(self, remote_id: UUID | None) -> EventStream:
        """A new listener."""

    def statistics(self) -> Statistics:
        """The counters of all links."""


@set_module("mpzmq")
class EngineService:
    """Requests to any container of a worker, with defaults of its own. ``worker.service()`` makes it."""

    def __init__(self, worker: ServiceWorker, options: Options) -> None:
        self._worker = worker
        self.defaults = options
        """What holds where a request has no options of its own."""

    async def request(
        self,
        request_id: UUID,
        remote_id: UUID,
        data: Any,
        fallback: Any = None,
        *,
        method: Method = Method.INVOKE,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
    ) -> Any:
        """Sends data to a container's handler for plain requests and returns the data of its reply.

        Args:
            request_id: the id of the request, chosen by the caller; the same id again, after it has ended without its
                reply, is the same request.
            remote_id: the container.
            data: any value of the table in the README.
            fallback: data that is sent once instead, under an id of its own and the same deadline, when the
                container answers ``Unsupported``, ``InvalidArguments`` or ``Refused``; None: no fallback.
            method: INVOKE; or GETSTATE or SETSTATE, whose data is the new status.
            timeout: seconds; None: no deadline of its own. A deadline of an enclosing handler always counts.
            idempotent: it may run twice: it is sent again, with the same id, to a container that was restarted, too.
            wait: wait within the timeout for a link that is dialled, drains or is full; False: fail at once.
            metadata: str keys; the handler finds it in its context.
            progress: called on the event loop, with a :class:`Progress`, as parts of the request are read by the
                container and parts of its reply arrive; never for what is too small to travel in parts. What it raises
                is logged, and it is not called again for this request.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            EncodeError, MessageTooLarge: nothing was sent.
            ValueError: a reply was received under this request id before, or it is in flight.
        """
        options = self.defaults.but(timeout, wait, idempotent, metadata, progress)
        tag = checked_id(request_id)
        return await self._sender(remote_id, tag).request(method, data, fallback, options, tag)

    async def exchange(
        self,
        params: Params,
        remote_id: UUID,
        fallback: Any = None,
        *,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
    ) -> Params:
        """Sends one whole message and returns the whole reply, with the container's status.

        Args:
            params: what to send. In SETSTATE, ``data`` is the new status, or ``status`` where ``data`` is None.
            remote_id: the container.
            fallback: as in :meth:`request`, as are the other arguments and the errors.
        """
        options = self.defaults.but(timeout, wait, idempotent, metadata, progress)
        tag = checked_id(params.id)
        method = Method(params.method)
        data = params.status if method is Method.SETSTATE and params.data is None else params.data
        status, answer = await self._sender(remote_id, tag).exchange(method, data, fallback, options, tag)
        return Params(params.id, method, status, answer)

    async def call(
        self,
        remote_id: UUID,
        function: str,
        /,
        *args: Any,
        request_id: UUID | None = None,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Any:
        """Calls a named function of a container and returns what it returns.

        The keywords ``request_id``, ``timeout``, ``idempotent``, ``wait`` and ``metadata`` are options here, and do not
        reach the function: one that has a parameter of such a name is called by :meth:`options`, which passes every
        keyword on. No other keyword will ever become an option. Options and errors are those of :meth:`request`.

        Args:
            remote_id: the id of the container.
            function: the name of the function.
            args: passed to it by position.
            request_id: the id of the request, chosen by the caller; None: a new one.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            What the function returns.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            EncodeError, MessageTooLarge: nothing was sent.
        """
        options = self.defaults.but(timeout, wait, idempotent, metadata)
        tag = None if request_id is None else checked_id(request_id)
        return await self._sender(remote_id, tag).call(function, args, kwargs, options, tag)

    def function(
        self,
        remote_id: UUID,
        name: str,
        /,
        *,
        request_id: UUID | None = None,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        lost_after: float | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A named function of a container, to be called with any arguments: options are given here.

        The same as ``options(remote_id, ...).function(name)``.

        Args:
            remote_id: the id of the container.
            name: the name of the function.
            request_id: the id of the request, chosen by the caller; None: a new one.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            lost_after: seconds for which what was sent waits for a container that is DOWN; 0: none; None: until its
                deadline.
            progress: called with a :class:`Progress` as parts of a large request or reply pass.

        Returns:
            A coroutine function that passes its arguments on.
        """
        return self.options(
            remote_id,
            timeout=timeout,
            idempotent=idempotent,
            wait=wait,
            metadata=metadata,
            request_id=request_id,
            lost_after=lost_after,
            progress=progress,
        ).function(name)

    def options(
        self,
        remote_id: UUID,
        /,
        *,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        request_id: UUID | None = None,
        idle_timeout: float | None = None,
        lost_after: float | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
    ) -> OptionsView:
        """One container, asked with these options: every keyword of a call of the view goes to the function.

        The way to a function whose own parameters have the names of options, and to all options of streams, uploads
        and channels: ``service.options(remote_id, timeout=9.0).stream("tail", "app.log", timeout=1.0)``.

        Args:
            remote_id: the container.
            timeout: seconds for the whole of each request. By default the service's for those with one reply; none for
                streams, uploads and channels.
            idempotent: as in :meth:`request`. Not for streams, uploads and channels, which are never sent again.
            wait: as in :meth:`request`, as is the metadata.
            metadata: sent along with each.
            request_id: the id of the one request that is made. Not for streams, uploads and channels.
            idle_timeout: seconds without an item. For streams, uploads and channels only.
            lost_after: seconds for which what was sent waits for a container that is DOWN, since its last WELCOME; then
                it ends with ``ConnectionLost``. 0: at the loss; None: at its deadline. By default the service's, or
                that of the worker's ``ReconnectPolicy``; what is ``idempotent=True`` waits unless it is given here.
            progress: as in :meth:`request`; for streams, uploads and channels with what travels in parts: their
                arguments, and large items.

        Returns:
            The view, to be used once or as often as one likes.

        Raises:
            TypeError: an option is of the wrong type. The view raises it where an option does not apply.
            ValueError: an option is out of its range.
        """
        return options_view(
            functools.partial(self._sender, checked_remote(remote_id)),
            self.defaults,
            timeout=timeout,
            idempotent=idempotent,
            wait=wait,
            metadata=metadata,
            request_id=request_id,
            idle_timeout=idle_timeout,
            lost_after=lost_after,
            progress=progress,
        )

    def stream(
        self,
        remote_id: UUID,
        function: str,
        /,
        *args: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> ReplyStream:
        """Calls a function that yields: ``async for item in service.stream(remote_id, "count", 10)``.

        A reader that is slow slows the function down (``Limits.stream_items``, ``stream_bytes``). Behind a broken
        connection to the same instance the stream goes on where it was.

        No other keyword than those below is an option, or will become one; a function that has a parameter of such a
        name is called by :meth:`options`. The same goes for :meth:`upload` and :meth:`channel`.

        Args:
            remote_id: the container.
            function: its name; args and kwargs go to it.
            timeout: seconds for the whole stream; None, other than in a call: no deadline of its own.
            idle_timeout: seconds without an item; None: any time.
            wait: as in :meth:`request`, as is the metadata.

        Returns:
            An async iterator. Its iteration raises the errors of :meth:`request`.
        """
        view = self.options(remote_id, timeout=timeout, idle_timeout=idle_timeout, wait=wait, metadata=metadata)
        return view.stream(function, *args, **kwargs)

    async def upload(
        self,
        remote_id: UUID,
        function: str,
        items: AsyncIterable[Any] | Iterable[Any],
        /,
        *args: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Any:
        """Sends items to a function whose first parameter is an async iterator, and returns what it returns.

        A function that is slow slows the reading of ``items`` down. A lost connection ends it: ``ConnectionLost``
        tells in ``progress`` how many items were sent and received.

        Args:
            remote_id: the container.
            function: its name; args and kwargs go to it, behind the items.
            items: an async iterable, or a plain one.
            timeout: seconds for the whole upload; None: no deadline of its own.
            idle_timeout: seconds in which the container takes no item, while some wait; None: any time.
            wait: as in :meth:`request`, as are the metadata and the errors.

        Raises:
            Exception: whatever ``items`` raises; the function is ended then.
        """
        view = self.options(remote_id, timeout=timeout, idle_timeout=idle_timeout, wait=wait, metadata=metadata)
        return await view.upload(function, items, *args, **kwargs)

    def channel(
        self,
        remote_id: UUID,
        function: str,
        /,
        *args: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Channel:
        """Talks with a function that yields, and whose first parameter is an async iterator.

        ``async with service.channel(remote_id, "chat") as channel``, then ``await channel.send(item)`` and
        ``async for item in channel``, in one task or two. A lost connection ends it, as in :meth:`upload`.

        Args:
            remote_id: the container.
            function: its name; args and kwargs go to it, behind the iterator.
            timeout: seconds for the whole of it; None: no deadline of its own.
            idle_timeout: seconds for which whoever waits, to send or to receive, is patient; None: any time.
            wait: as in :meth:`request`, as is the metadata.
        """
        view = self.options(remote_id, timeout=timeout, idle_timeout=idle_timeout, wait=wait, metadata=metadata)
        return view.channel(function, *args, **kwargs)

    async def get_state(
        self, remote_id: UUID, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET
    ) -> Status:
        """Asks a container for its run state.

        Args:
            remote_id: the id of the container.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            Its run state.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return await self._handle(remote_id).sender.get_state(self.defaults.but(timeout, wait).repeatable())

    async def set_state(
        self, remote_id: UUID, status: Status, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET
    ) -> Status:
        """Sets a container's run state and returns it.

        Args:
            remote_id: the id of the container.
            status: the new status.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            The run state that it has now.

        Raises:
            Refused: the container's ``on_state_change`` said no.
        """
        return await self._handle(remote_id).sender.set_state(status, self.defaults.but(timeout, wait).repeatable())

    async def describe(
        self, remote_id: UUID, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET, schema: bool = False
    ) -> Description:
        """Asks a container what it offers: its functions with their signatures, its status, its version.

        Args:
            remote_id: the id of the container.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            schema: whether its functions are described as JSON Schema, too, if they are typed.

        Returns:
            Its name, version, status and functions.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        options = self.defaults.but(timeout, wait).repeatable()
        return await self._handle(remote_id).sender.describe(options, schema=schema)

    async def get_statistics(
        self, remote_id: UUID, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET
    ) -> ServerStatistics:
        """Asks a container for its counters; those of this side are :meth:`statistics`.

        Args:
            remote_id: the id of the container.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            Its counters, by function, too.

        Raises:
            Unsupported: the container is of a version that does not tell them.
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return await self._handle(remote_id).sender.get_statistics(self.defaults.but(timeout, wait).repeatable())

    def events(self, remote_id: UUID | None = None) -> EventStream:
        """What happens to the links, as an async iterator that listens from now on and ends at close.

        Args:
            remote_id: one container only; None: all.
        """
        return self._worker.listen(remote_id)

    def statistics(self) -> Statistics:
        """The counters of all the worker's links, added up."""
        return self._worker.statistics()

    def _sender(self, remote_id: UUID, tag: bytes | None) -> RequestSender | MiddlewareSender:
        return self._handle(remote_id, tag).way_out

    def _handle(self, remote_id: UUID, tag: bytes | None = None) -> Handle:
        writer = self._worker.get_engine(checked_remote(remote_id))
        if writer is None:
            raise NotConnected(
                f"no container is connected under {remote_id}: connect() it first, or check the id",
                request_id=None if tag is None else UUID(bytes=tag),
                remote_id=remote_id,
                name=str(remote_id),
                # Under this id it may have run when there was such a container.
                executed=Executed.UNKNOWN if tag in self._worker.ended_ids else Executed.NO,
            )
        return writer
