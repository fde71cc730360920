"""The ways to ask that a container's handle and a group have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from ..models import Method
from ..protocol.requester.options import UNSET
from .arguments import checked_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping
    from uuid import UUID

    from ..models import Progress
    from ..protocol.requester.options import _U, Options
    from .options_view import OptionsView
    from .request_sender import Sender
    from .streams import Channel, ReplyStream

__all__ = ["RequestMethods"]

_T = TypeVar("_T")


class RequestMethods(ABC):
    """Requests, calls and what goes piece by piece, through one sender.

    Args:
        sender: the one way out for requests.
        defaults: what holds where a request has no options of its own.
    """

    def __init__(self, sender: Sender, defaults: Options) -> None:
        self._sender = sender
        self._defaults = defaults

    async def request(
        self,
        data: Any,
        fallback: Any = None,
        *,
        request_id: UUID | None = None,
        method: Method = Method.INVOKE,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
    ) -> Any:
        """Sends data to the container's handler for plain requests; see :meth:`EngineService.request`.

        Args:
            data: any value that a message can carry.
            fallback: data that is sent once instead after ``Unsupported``, ``InvalidArguments`` or ``Refused``; None:
                no fallback.
            request_id: the id of the request, chosen by the caller; None: a new one.
            method: INVOKE; or GETSTATE or SETSTATE, whose data is the new status.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            progress: called with a :class:`Progress` as parts of a large request or reply pass.

        Returns:
            The data of the reply.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            EncodeError, MessageTooLarge: nothing was sent.
        """
        options = self._defaults.but(timeout, wait, idempotent, metadata, progress)
        tag = None if request_id is None else checked_id(request_id)
        return await self._sender.request(method, data, fallback, options, tag)

    async def call(
        self,
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
        """Calls a named function of the container; see :meth:`EngineService.call`.

        Args:
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
        options = self._defaults.but(timeout, wait, idempotent, metadata)
        tag = None if request_id is None else checked_id(request_id)
        return await self._sender.call(function, args, kwargs, options, tag)

    def function(
        self,
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
        """A named function of the container, to be called with any arguments: options are given here.

        The same as ``options(...).function(name)``.

        Args:
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
            timeout=timeout,
            idempotent=idempotent,
            wait=wait,
            metadata=metadata,
            request_id=request_id,
            lost_after=lost_after,
            progress=progress,
        ).function(name)

    @abstractmethod
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
    ) -> OptionsView:
        """Whoever is asked, asked with these options; see :meth:`EngineService.options`."""

    def of(self, interface: Callable[..., _T]) -> _T:
        """The container, through an interface: ``jobs = container.of(Scheduler)``, then ``await jobs.submit(job)``.

        Results, and the items of streams, are converted to what the interface says (extra ``typed``).

        Args:
            interface: a class such as a ``typing.Protocol``, as a client sees the functions: ``async def``, or ``def``
                that returns an ``AsyncIterator`` or ``AsyncGenerator``. A first parameter that is an ``AsyncIterable``,
                or that or an ``Iterable``, takes the items of an upload or a channel.

        Returns:
            What has its methods, which raise ``ResultMismatch`` where the answer does not fit, and the errors of a
            call.

        Raises:
            TypeError: it is no such interface.
            ImportError: the extra is missing.
        """
        return self.options().of(interface)

    def stream(
        self,
        function: str,
        /,
        *args: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> ReplyStream:
        """Calls a function that yields; see :meth:`EngineService.stream`.

        Args:
            function: the name of the function.
            args: passed to it by position.
            timeout: seconds for the whole of it; None: no deadline of its own.
            idle_timeout: seconds without an item; None: any time.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            Its items, as an async iterator that raises the errors of a call.
        """
        view = self.options(timeout=timeout, idle_timeout=idle_timeout, wait=wait, metadata=metadata)
        return view.stream(function, *args, **kwargs)

    async def upload(
        self,
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
        """Sends items to a function, and returns what it returns; see :meth:`EngineService.upload`.

        Args:
            function: the name of the function.
            items: the items, from an async iterable or a plain one.
            args: passed to it by position.
            timeout: seconds for the whole of it; None: no deadline of its own.
            idle_timeout: seconds without an item; None: any time.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            What the function returns.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            Exception: whatever ``items`` raises; the function is ended then.
        """
        view = self.options(timeout=timeout, idle_timeout=idle_timeout, wait=wait, metadata=metadata)
        return await view.upload(function, items, *args, **kwargs)

    def channel(
        self,
        function: str,
        /,
        *args: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Channel:
        """Talks with a function; see :meth:`EngineService.channel`.

        Args:
            function: the name of the function.
            args: passed to it by position.
            timeout: seconds for the whole of it; None: no deadline of its own.
            idle_timeout: seconds without an item; None: any time.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            Both directions, to be entered with ``async with``.
        """
        view = self.options(timeout=timeout, idle_timeout=idle_timeout, wait=wait, metadata=metadata)
        return view.channel(function, *args, **kwargs)
