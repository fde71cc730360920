"""The ways to ask that the blocking handles of a container and of a group have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine.streams import checked_items
from ..models import Method
from ..protocol.requester.options import UNSET
from .loop_thread import Closed, Feed
from .options_view import BlockingOptionsView
from .stream import BlockingStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
    from concurrent.futures import Future
    from uuid import UUID

    from ..engine.options_view import OptionsView
    from ..engine.request_methods import RequestMethods
    from ..engine.streams import ReplyStream
    from ..errors import NotConnected
    from ..models import Progress
    from ..protocol.requester.options import _U
    from .loop_thread import LoopThread

__all__ = ["BlockingRequests"]

_T = TypeVar("_T")


class BlockingRequests(ABC):
    """Requests, calls and what goes piece by piece, waited for by the thread that asks.

    Args:
        thread: where the worker lives.
        asked: the handle there.
        name: what it is called in errors.
    """

    def __init__(self, thread: LoopThread, asked: RequestMethods, name: str) -> None:
        self._thread = thread
        self._asked = asked
        self._shown = name

    def request(
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

        ``progress`` is called on the handle's own thread.

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
            progress: called with a :class:`mpzmq.Progress` as parts of a large request or reply pass.

        Returns:
            The data of the reply.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            EncodeError, MessageTooLarge: nothing was sent.
        """
        return self._do(
            lambda: self._asked.request(
                data,
                fallback,
                request_id=request_id,
                method=method,
                timeout=timeout,
                idempotent=idempotent,
                wait=wait,
                metadata=metadata,
                progress=progress,
            )
        )

    def call(
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
        return self._do(
            lambda: self._asked.call(
                function,
                *args,
                request_id=request_id,
                timeout=timeout,
                idempotent=idempotent,
                wait=wait,
                metadata=metadata,
                **kwargs,
            )
        )

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
    ) -> Callable[..., Any]:
        """A named function of the container, to be called with any arguments: ``options(...).function(name)``.

        Args:
            name: the name of the function.
            request_id: the id of the request, chosen by the caller; None: a new one.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            lost_after: seconds for which what was sent waits for a container that is DOWN; 0: none; None: until its
                deadline.
            progress: called with a :class:`mpzmq.Progress` as parts of a large request or reply pass.

        Returns:
            A function that passes its arguments on.
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
    ) -> BlockingStream:
        """Calls a function that yields: ``for item in container.stream("count", 10)``.

        Args:
            function: the name of the function.
            args: passed to it by position.
            timeout: seconds for the whole of it; None: no deadline of its own.
            idle_timeout: seconds without an item; None: any time.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            Its items, as an iterator that raises the errors of a call.
        """
        view = self.options(timeout=timeout, idle_timeout=idle_timeout, wait=wait, metadata=metadata)
        return view.stream(function, *args, **kwargs)

    def upload(
        self,
        function: str,
        items: Iterable[Any],
        /,
        *args: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Any:
        """Sends items to a function that takes a stream, and returns what it returns.

        The calling thread takes them from ``items``, and is told of an early end with the next one.

        Args:
            function: the name of the function.
            items: the items.
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
        return view.upload(function, items, *args, **kwargs)

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
    ) -> BlockingOptionsView:
        """The container, asked with these options: every keyword of a call of the view goes to the function.

        See :meth:`EngineService.options`. ``progress`` is called on the handle's own thread.

        Args:
            timeout: seconds for the whole of each; by default the handle's for calls, and none for what goes piece by
                piece.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            request_id: the id of the one request that is made; not for streams, uploads and channels.
            idle_timeout: seconds without an item; None: any time.
            lost_after: seconds for which what was sent waits for a container that is DOWN; 0: none; None: until its
                deadline.
            progress: called with a :class:`mpzmq.Progress` as parts of a large request or reply pass.

        Returns:
            The view, to be used once or as often as one likes.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: an option is out of its range.
        """
        view = self._asked.options(
            timeout=timeout,
            idempotent=idempotent,
            wait=wait,
            metadata=metadata,
            request_id=request_id,
            idle_timeout=idle_timeout,
            lost_after=lost_after,
            progress=progress,
        )
        return self._viewed(view)

    def of(self, interface: Callable[..., _T]) -> _T:
        """The container, through an interface: ``jobs = container.of(Scheduler)``, then ``jobs.submit(job)``.

        Results, and the items of streams, are converted to what the interface says (extra ``typed``).

        Args:
            interface: a class such as a ``typing.Protocol``, as a client sees the functions: ``def``, and
                ``Iterator`` for what a stream returns. A first parameter that is an ``Iterable`` takes the items of an
                upload. An interface with ``async def`` is called without ``await``.

        Returns:
            What has its methods, which raise ``ResultMismatch`` where the answer does not fit, and the errors of a
            call.

        Raises:
            TypeError: it is no such interface.
            ImportError: the extra is missing.
        """
        return self.options().of(interface)

    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Calls a named function without waiting for it; ``options(...).submit`` does so with options.

        Args:
            function: the name of the function.
            args: passed to it by position.
            kwargs: passed to it by name, all of them.

        Returns:
            The future of what it returns, for ``concurrent.futures.as_completed()``, too. Cancelling it cancels the
            call.
        """
        return self.options().submit(function, *args, **kwargs)

    def _stream(self, ask: Callable[[], ReplyStream]) -> BlockingStream:
        async def made() -> ReplyStream:
            return ask()

        return BlockingStream(self._do(made), self._thread, repr(self._shown))

    def _upload(self, send: Callable[[AsyncIterator[Any]], Coroutine[Any, Any, Any]], items: Iterable[Any]) -> Any:
        feed = Feed(iter(checked_items(items)))

        async def sent() -> Any:
            try:
                return await send(feed.items())
            finally:
                feed.over()

        return self._do(sent, feed.give)

    def _viewed(self, view: OptionsView) -> BlockingOptionsView:
        return BlockingOptionsView(view, self._do, self._submit, self._stream, self._upload, view._converted)

    def _do(self, work: Callable[[], Coroutine[Any, Any, _T]], meanwhile: Callable[[], None] | None = None) -> _T:
        try:
            return self._thread.do(work, meanwhile)
        except Closed:
            raise self._closed() from None

    def _submit(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> Future[_T]:
        try:
            return self._thread.submit(work)
        except Closed:
            raise self._closed() from None

    @abstractmethod
    def _closed(self) -> NotConnected:
        """The error for who uses a handle that is closed."""
