"""One container, asked with options that were given beforehand, for programs without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..common.set_module import set_module
from ..models import Method
from ..typed.interface import checked_interface, methods_of
from .proxies import blocking_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
    from concurrent.futures import Future

    from ..engine.options_view import OptionsView
    from ..engine.streams import ReplyStream
    from .stream import BlockingStream

__all__ = ["BlockingOptionsView"]

_T = TypeVar("_T")


@set_module("mpzmq.blocking")
class BlockingOptionsView:
    """One container, asked with options of its own; ``container.options(...)`` makes it.

    No keyword is taken for an option: all go to the function, as with :class:`mpzmq.OptionsView`.
    """

    def __init__(
        self,
        view: OptionsView,
        do: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any],
        submit: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Future[Any]],
        stream: Callable[[Callable[[], ReplyStream]], BlockingStream],
        upload: Callable[[Callable[[AsyncIterator[Any]], Coroutine[Any, Any, Any]], Iterable[Any]], Any],
        convert: Callable[[Any, Any, str], Any],
    ) -> None:
        self._view = view
        self._do = do
        self._submit = submit
        self._stream = stream
        self._upload = upload
        self._convert = convert

    def request(self, data: Any, fallback: Any = None, *, method: Method = Method.INVOKE) -> Any:
        """Sends data to the container's handler for plain requests; see :meth:`EngineService.request`.

        Args:
            data: any value that a message can carry.
            fallback: data that is sent once instead after ``Unsupported``, ``InvalidArguments`` or ``Refused``; None:
                no fallback.
            method: INVOKE; or GETSTATE or SETSTATE, whose data is the new status.

        Returns:
            The data of the reply.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            TypeError: ``idle_timeout`` was given, which is for what goes piece by piece.
        """
        return self._do(lambda: self._view.request(data, fallback, method=method))

    def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a named function of the container, with any keywords, and returns what it returns.

        Args:
            function: the name of the function.
            args: passed to it by position.
            kwargs: passed to it by name.

        Returns:
            What the function returns.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            TypeError: ``idle_timeout`` was given, which is for what goes piece by piece.
        """
        return self._do(lambda: self._view.call(function, *args, **kwargs))

    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Calls a named function without waiting for it, with any keywords.

        Args:
            function: the name of the function.
            args: passed to it by position.
            kwargs: passed to it by name.

        Returns:
            The future of what it returns, for ``concurrent.futures.as_completed()``, too. Cancelling it cancels the
            call.
        """
        return self._submit(lambda: self._view.call(function, *args, **kwargs))

    def function(self, name: str, /) -> Callable[..., Any]:
        """A named function of the container, to be called with any arguments.

        Args:
            name: the name of the function.

        Returns:
            What passes its arguments on.
        """
        called = self._view.function(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._do(lambda: called(*args, **kwargs))

        return call

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
        methods = methods_of(interface, blocking=True)
        return cast("_T", blocking_proxy(checked_interface(interface), methods, self, self._convert))

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> BlockingStream:
        """Calls a function that yields, with any keywords; see :meth:`EngineService.stream`.

        Args:
            function: the name of the function.
            args: passed to it by position.
            kwargs: passed to it by name.

        Returns:
            Its items.

        Raises:
            TypeError: ``idempotent=True`` or ``request_id`` was given: it is never sent again as a whole.
        """
        return self._stream(lambda: self._view.stream(function, *args, **kwargs))

    def upload(self, function: str, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Any:
        """Sends items to a function, with any keywords; see :meth:`EngineService.upload`.

        Args:
            function: the name of the function.
            items: the items.
            args: passed to it by position.
            kwargs: passed to it by name.

        Returns:
            What the function returns.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            TypeError: ``idempotent=True`` or ``request_id`` was given: it is never sent again as a whole.
        """
        return self._upload(lambda taken: self._view.upload(function, taken, *args, **kwargs), items)
