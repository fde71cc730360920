"""A container, or a group, asked with options that were given beforehand: all keywords of a call go to the function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..common.durations import checked_seconds
from ..common.set_module import set_module
from ..models import Method
from ..protocol.requester.options import UNSET
from ..typed.errors import InvalidValueError
from ..typed.interface import checked_interface, methods_of
from .arguments import checked_function, checked_id
from .proxies import proxy
from .streams import StreamRequest
from .wrapped_streams import channel_of, stream_of, upload_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping
    from uuid import UUID

    from ..models import Progress
    from ..protocol.requester.options import _U, Options
    from ..typed.interface import Method as InterfaceMethod
    from .request_sender import Sender
    from .streams import Channel, ReplyStream

__all__ = ["OptionsView", "options_view"]

_T = TypeVar("_T")


@set_module("mpzmq")
class OptionsView:
    """One container, asked with options of its own; ``handle.options(...)`` and ``service.options(...)`` make it.

    No keyword is taken for an option, other than in ``handle.call()``: ``handle.options(timeout=9.0).call("poll", url,
    timeout=1.0)`` passes ``timeout=1.0`` to the function. It can be used again and again; arguments and errors are
    those of :class:`EngineService`.

    Args:
        sender: gives the way out for the container's requests; asked anew for each, with its id.
        options: those that were given, and the defaults in place of the others.
        tag: the id of the request, where one was chosen.
        flow_timeout: seconds for the whole of what goes piece by piece; None: no deadline of its own.
        idle_timeout: seconds that it may stand still; None: any time.
        is_idempotent: whether ``idempotent=True`` was given, and is not a default.
    """

    __slots__ = ("_flow_timeout", "_idle_timeout", "_is_idempotent", "_options", "_sender", "_tag")

    def __init__(
        self,
        sender: Callable[[bytes | None], Sender],
        options: Options,
        *,
        tag: bytes | None,
        flow_timeout: float | None,
        idle_timeout: float | None,
        is_idempotent: bool,
    ) -> None:
        self._sender = sender
        self._options = options
        self._tag = tag
        self._flow_timeout = flow_timeout
        self._idle_timeout = idle_timeout
        self._is_idempotent = is_idempotent

    async def request(self, data: Any, fallback: Any = None, *, method: Method = Method.INVOKE) -> Any:
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
        self._check_reply("request")
        return await self._sender(self._tag).request(method, data, fallback, self._options, self._tag)

    async def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
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
        return await self._call("call", function, args, kwargs)

    def function(self, name: str, /) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A named function of the container, to be called with any arguments.

        Args:
            name: the name of the function.

        Returns:
            What passes its arguments on.
        """

        async def function(*args: Any, **kwargs: Any) -> Any:
            return await self._call("function", name, args, kwargs)

        return function

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> ReplyStream:
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
        return stream_of(self._asked("stream", function, args, kwargs))

    async def upload(
        self, function: str, items: AsyncIterable[Any] | Iterable[Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Sends items to a function, with any keywords; see :meth:`EngineService.upload`.

        Args:
            function: the name of the function.
            items: the items, from an async iterable or a plain one.
            args: passed to it by position.
            kwargs: passed to it by name.

        Returns:
            What the function returns.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            TypeError: ``idempotent=True`` or ``request_id`` was given: it is never sent again as a whole.
        """
        return await upload_of(self._asked("upload", function, args, kwargs), items)

    def channel(self, function: str, /, *args: Any, **kwargs: Any) -> Channel:
        """Talks with a function, called with any keywords; see :meth:`EngineService.channel`.

        Args:
            function: the name of the function.
            args: passed to it by position.
            kwargs: passed to it by name.

        Returns:
            Both directions, to be entered with ``async with``.

        Raises:
            TypeError: ``idempotent=True`` or ``request_id`` was given: it is never sent again as a whole.
        """
        return channel_of(self._asked("channel", function, args, kwargs))

    def of(self, interface: Callable[..., _T]) -> _T:
        """Whoever is asked, through an interface: ``jobs = container.of(Scheduler)``, then ``await jobs.submit(job)``.

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
        methods = methods_of(interface)
        return cast("_T", proxy(checked_interface(interface), methods, self, self._converted))

    def _converted(self, method: InterfaceMethod, value: Any, path: str) -> Any:
        """A result, or an item, as an interface says.

        Raises:
            ResultMismatch: it does not fit.
        """
        try:
            return method.result.convert(value, path)
        except InvalidValueError as error:
            text = f"what {method.name!r} has answered does not fit the interface: {error}"
        raise self._sender(self._tag).mismatch(text, self._tag)

    async def _call(self, way: str, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._check_reply(way)
        return await self._sender(self._tag).call(function, args, kwargs, self._options, self._tag)

    def _asked(self, way: str, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StreamRequest:
        if self._is_idempotent or self._tag is not None:
            option = "idempotent=True" if self._is_idempotent else "request_id"
            raise TypeError(f"{option} is not for {way}(): what goes piece by piece is never sent again as a whole")
        options = self._options.but(self._flow_timeout, UNSET, False, UNSET)
        return StreamRequest(self._sender(None), checked_function(function), args, kwargs, options, self._idle_timeout)

    def _check_reply(self, way: str) -> None:
        if self._idle_timeout is not None:
            raise TypeError(f"idle_timeout is not for {way}(), whose reply comes as one: use timeout")


def options_view(
    sender: Callable[[bytes | None], Sender],
    defaults: Options,
    *,
    timeout: float | _U | None,
    idempotent: bool | _U,
    wait: bool | _U,
    metadata: Mapping[str, Any] | _U | None,
    request_id: UUID | None,
    idle_timeout: float | None,
    lost_after: float | _U | None,
    progress: Callable[[Progress], object] | _U | None,
) -> OptionsView:
    """The view of a container with these options; ``defaults`` hold in place of those that were not given."""
    return OptionsView(
        sender,
        defaults.but(timeout, wait, idempotent, metadata, progress, lost_after),
        tag=None if request_id is None else checked_id(request_id),
        # What goes piece by piece has no deadline unless one is given for it.
        flow_timeout=None if timeout is UNSET else timeout,
        idle_timeout=None if idle_timeout is None else checked_seconds(idle_timeout, "idle_timeout"),
        is_idempotent=idempotent is True,
    )
