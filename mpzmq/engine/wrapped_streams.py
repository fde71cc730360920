"""Streams, channels and uploads with the middleware of a worker around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..common.text import type_name
from ..errors import ConnectionClosed
from ..handlers.middleware import close_items
from ..models import Executed
from ..protocol.wire.kinds import Op
from .middleware_sender import MiddlewareSender
from .streams import Channel, ReplyStream, checked_items, upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable
    from types import TracebackType

    from ..protocol.requester.options import Options
    from .streams import StreamRequest

__all__ = ["channel_of", "stream_of", "upload_of"]


def stream_of(asked: StreamRequest) -> ReplyStream:
    """A stream, with what stands around it."""
    return _WrappedStream(asked) if isinstance(asked.way_out, MiddlewareSender) else ReplyStream(asked)


def channel_of(asked: StreamRequest) -> Channel:
    """A channel, with what stands around it."""
    return _WrappedChannel(asked) if isinstance(asked.way_out, MiddlewareSender) else Channel(asked)


async def upload_of(asked: StreamRequest, items: AsyncIterable[Any] | Iterable[Any]) -> Any:
    """An upload, with what stands around it."""
    sender = asked.way_out
    if not isinstance(sender, MiddlewareSender):
        return await upload(asked, items)
    if not hasattr(type(items), "__aiter__"):
        checked_items(items)  # type: ignore[arg-type]  # they are plain

    def send(args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> Any:
        return upload(asked.replaced(sender.way_out, args, kwargs, options), items)

    return await sender.through(Op.UPLOAD, asked.function, asked.args, asked.kwargs, asked.options, send)


class _Wrapped(ReplyStream):
    """What comes piece by piece through middleware: that gives the items, and a stream inside of it has them sent.

    The middleware runs when the stream is opened. What it returns is iterated then.
    """

    _kind: type[ReplyStream]

    def __init__(self, asked: StreamRequest) -> None:
        super().__init__(asked)
        self._items: AsyncIterator[Any] | None = None
        self._given: list[Any] = []  # the items of each step, the innermost first
        self._inside: Any = None
        self._is_read = False

    async def __anext__(self) -> Any:
        if self._is_read:
            raise RuntimeError("another task reads this stream already: one at a time")
        if self._over:
            raise StopAsyncIteration
        self._is_read = True
        try:
            items = self._items or await self._enter()
            return await anext(items)
        except BaseException:
            self._end()
            await close_items(self._given, self)
            raise
        finally:
            self._is_read = False

    async def __aenter__(self) -> Any:
        await self._enter()
        return self

    def take_buffered(self) -> list[Any]:
        """Nothing: each item goes through the middleware."""
        return []

    async def aclose(self) -> None:
        """Ends the function if it has not ended; nothing more comes."""
        items: Any = self._items
        self._items = None
        self._end()
        if self._is_read:
            return  # who reads sees the end, and closes them
        try:
            if items is not self._inside and hasattr(items, "aclose"):
                await items.aclose()
        finally:
            await close_items(self._given, self)

    async def _enter(self) -> AsyncIterator[Any]:
        if self._opening:
            raise RuntimeError("another task opens this stream already: one at a time")
        if self._items is not None or self._over:
            raise RuntimeError("a stream is opened once: ask the function again for another")
        asked = self._asked
        sender = asked.way_out
        assert isinstance(sender, MiddlewareSender)

        async def send(args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> ReplyStream:
            inside = self._inside = self._kind(asked.replaced(sender.way_out, args, kwargs, options))
            await inside._open()
            return inside

        self._opening = True
        try:
            items = await sender.through(
                self._op, asked.function, asked.args, asked.kwargs, asked.options, send, given=self._given
            )
            if not hasattr(type(items), "__aiter__"):
                raise TypeError(f"a middleware has returned {type_name(items)} for a stream, and no async iterator")
        except BaseException:
            self._end()
            await close_items(self._given, self)
            raise
        finally:
            self._opening = False
        given: AsyncIterator[Any] = aiter(items)
        self._items = given
        if self._over:  # closed meanwhile
            await self.aclose()
            raise StopAsyncIteration
        return given

    def _end(self, *, keep: bool = False) -> None:
        super()._end(keep=keep)
        if self._inside is not None and not keep:
            self._inside._end()


class _WrappedStream(_Wrapped):
    """A stream through middleware."""

    _kind = ReplyStream


class _WrappedChannel(_Wrapped, Channel):
    """A channel through middleware: what is sent goes to the function, what it yields comes through the middleware."""

    _kind = Channel

    async def send(self, item: Any) -> None:
        """Sends one item; see :class:`Channel`."""
        if (inside := self._opened()) is not None:
            await inside.send(item)
            return
        text = f"{self._asked.function!r} takes nothing: a middleware of this worker has answered in its place"
        raise ConnectionClosed(text, executed=Executed.NO)

    async def send_eof(self) -> None:
        """Says that nothing follows; see :class:`Channel`."""
        if (inside := self._opened()) is not None:
            await inside.send_eof()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        inside: Channel | None = self._inside
        try:
            if inside is not None:
                await inside.__aexit__(kind, error, traceback)
        finally:
            # Another task that reads gets what has come, as it does without middleware.
            if kind is not None or inside is None or inside._read_elsewhere() is None:
                await self.aclose()

    def _opened(self) -> Channel | None:
        """The channel inside; None: there is none.

        Raises:
            RuntimeError: this one is not open.
        """
        if self._items is None:
            raise RuntimeError("the channel is closed" if self._closed else "the channel is not open: use 'async with'")
        inside: Channel | None = self._inside
        return inside
