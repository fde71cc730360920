"""Containers and groups through an interface: its methods call functions, and give what their annotations say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, Self

from ..errors import RequestError
from ..typed.interface import Way
from .streams import each_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from ..typed.interface import Method
    from .streams import Channel, ReplyStream

    _Convert = Callable[[Method, Any, str], Any]

__all__ = ["Proxy", "TypedStream", "proxy"]


class Asked(Protocol):
    """Whoever is asked: what an :class:`~mpzmq.OptionsView` has of it."""

    async def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function."""

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> ReplyStream:
        """Calls a function that yields."""

    async def upload(self, function: str, items: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Sends items to a function."""

    def channel(self, function: str, /, *args: Any, **kwargs: Any) -> Channel:
        """Talks with a function."""


class Proxy:
    """Stands for an interface."""

    def __init__(self, interface: type, methods: Mapping[str, Callable[..., Any]]) -> None:
        self._interface = interface
        self.__dict__.update(methods)

    def __repr__(self) -> str:
        return f"<{self._interface.__qualname__} of mpzmq>"


def proxy(interface: type, methods: Mapping[str, Method], view: Asked, convert: _Convert) -> Proxy:
    """What has the methods of an interface, and calls the functions of a container.

    Args:
        interface: the class.
        methods: its methods.
        view: whom they ask.
        convert: makes of a result, or an item, what a method says; it is given the path, for errors.
    """
    makers = {Way.CALL: _call, Way.STREAM: _stream, Way.UPLOAD: _upload, Way.CHANNEL: _channel}
    return Proxy(interface, {name: makers[method.way](method, view, convert) for name, method in methods.items()})


def _call(method: Method, view: Asked, convert: _Convert) -> Callable[..., Any]:
    name = method.name

    async def call(*args: Any, **kwargs: Any) -> Any:
        return convert(method, await view.call(name, *args, **kwargs), "result")

    return call


def _upload(method: Method, view: Asked, convert: _Convert) -> Callable[..., Any]:
    async def upload(*args: Any, **kwargs: Any) -> Any:
        items, args, kwargs = method.split(args, kwargs)
        return convert(method, await view.upload(method.name, items, *args, **kwargs), "result")

    return upload


def _stream(method: Method, view: Asked, convert: _Convert) -> Callable[..., Any]:
    def stream(*args: Any, **kwargs: Any) -> TypedStream:
        return TypedStream(view.stream(method.name, *args, **kwargs), method, convert)

    return stream


def _channel(method: Method, view: Asked, convert: _Convert) -> Callable[..., Any]:
    def channel(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        items, args, kwargs = method.split(args, kwargs)
        return _answers(method, view, convert, items, args, kwargs)

    return channel


async def _answers(
    method: Method, view: Asked, convert: _Convert, items: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncIterator[Any]:
    """What a function answers to items that are sent to it meanwhile."""
    async with view.channel(method.name, *args, **kwargs) as channel:

        async def send_all() -> None:
            async for item in each_of(items):
                await channel.send(item)
            await channel.send_eof()

        sending, count = asyncio.ensure_future(send_all()), 0
        try:
            while (item := await _next_of(channel, sending)) is not _END:
                yield convert(method, item, f"item[{count}]")
                count += 1
        finally:
            sending.cancel()
            await asyncio.wait([sending])


_END: Any = object()


async def _next_of(channel: Channel, sending: asyncio.Future[None]) -> Any:
    """The next answer; what the items themselves raise ends the whole."""
    if not sending.done():
        reading = asyncio.ensure_future(_answer(channel))
        try:
            await asyncio.wait([reading, sending], return_when=asyncio.FIRST_COMPLETED)
            if not _has_failed(sending):
                return await reading
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.wait([reading])
    if _has_failed(sending):
        sending.result()
    return await _answer(channel)


def _has_failed(sending: asyncio.Future[None]) -> bool:
    """Whether the items could not be had. What ends the channel is told by reading it."""
    if not sending.done() or sending.cancelled():
        return False
    error = sending.exception()
    return error is not None and not isinstance(error, RequestError)


async def _answer(channel: Channel) -> Any:
    return await anext(channel, _END)


class TypedStream:
    """The items of a function that yields, each as the interface says: an async iterator.

    It is used as a :class:`ReplyStream` is, with ``async for``, ``async with`` and ``aclose()``.

    Raises:
        ResultMismatch: from the iteration; an item does not fit, and the function is ended.
        RequestError: from the iteration, as from that of a :class:`ReplyStream`.
    """

    def __init__(self, stream: ReplyStream, method: Method, convert: _Convert) -> None:
        self._stream = stream
        self._method = method
        self._convert = convert
        self._count = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._stream)
        index, self._count = self._count, self._count + 1
        try:
            return self._convert(self._method, item, f"item[{index}]")
        except BaseException:
            await self._stream.aclose()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stream.__aexit__(*error)

    async def aclose(self) -> None:
        """Ends the function if it has not ended; nothing more comes. Idempotent."""
        await self._stream.aclose()
