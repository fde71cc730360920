"""Results, and data, that come piece by piece."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import weakref
from collections.abc import AsyncIterable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Self

from ..common.durations import checked_seconds
from ..common.set_module import set_module
from ..errors import RequestError, RequestTimeout
from ..protocol.flow.receive_stream import ReceiveStream
from ..protocol.flow.send_stream import SendStream
from ..protocol.wire.kinds import Op
from ..runtime.item_streams import ItemWriter, Waker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType

    from ..protocol.requester.options import Options
    from ..protocol.requester.request import PendingRequest
    from .request_sender import RequestSender, Sender

__all__ = ["Channel", "ReplyStream", "StreamRequest", "checked_items", "each_of", "upload"]


class StreamRequest:
    """What a stream is opened with; its arguments are its attributes, too.

    Args:
        sender: through which it leaves.
        function: the name of the function.
        args: its arguments.
        kwargs: those by name.
        options: how it is to be treated.
        idle_timeout: seconds that it may stand still; None: any time.
    """

    def __init__(
        self,
        sender: Sender,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        idle_timeout: float | None,
    ) -> None:
        self.sender: RequestSender
        """Through whom it goes on, once it was opened."""
        self._told: Callable[[RequestError], RequestError]
        self.way_out = sender
        self.function = function
        self.idle_timeout = None if idle_timeout is None else checked_seconds(idle_timeout, "idle_timeout")
        self.args = args
        self.kwargs = kwargs or None
        self.options = options

    def replaced(
        self, sender: Sender, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options
    ) -> StreamRequest:
        """The same, opened through another sender with other arguments."""
        return StreamRequest(sender, self.function, args, kwargs, options, self.idle_timeout)

    def receive_stream(self) -> ReceiveStream:
        """What takes the results."""
        limits = self.way_out.limits
        return ReceiveStream(limits.stream_items, limits.stream_bytes)

    async def open(
        self, op: int, receive_stream: ReceiveStream | None, send_stream: SendStream | None
    ) -> PendingRequest:
        """Sends the request."""
        given = self.args, self.kwargs, self.options, receive_stream, send_stream, self.idle_timeout
        self.sender, entry, self._told = await self.way_out.open_stream(op, self.function, *given)
        return entry

    def told(self, error: BaseException) -> BaseException:
        """An error with which it has ended, as its caller is told of it.

        A copy for each who asks: the waiter, which is part of this, keeps the other.
        """
        return self._told(error) if isinstance(error, RequestError) else copy.copy(error)

    def leaving(self, entry: PendingRequest) -> ItemWriter:
        """The end at which data is put in."""
        sender = self.sender
        assert entry.send_stream is not None
        return ItemWriter(entry.send_stream, sender.encoder, sender.message_bytes, lambda: sender.flush_stream(entry))

    async def wait_idle(self, entry: PendingRequest, wait: Callable[[float | None], Awaitable[None]]) -> None:
        """Waits for the other side, as long as it may stand still."""
        is_idle = False
        try:
            await wait(self.idle_timeout)
        except RequestError as error:  # of which one is a TimeoutError, too: the deadline
            raise self.told(error) from None
        except TimeoutError:
            is_idle = True
        if is_idle:
            # Not where that was caught: its traceback has the Timeout, which has the task, which may end with this.
            assert self.idle_timeout is not None
            idle = self.sender.idle_error(entry, self.idle_timeout)
            if not entry.waiter.done():
                entry.waiter.set_exception(idle)  # whoever waits at the other end of a channel is told as well
            raise self.told(idle)


@set_module("mpzmq")
class ReplyStream:
    """The items of a function that yields: an async iterator that ends as the function does.

    The request is sent when the first item is asked for, or by ``async with``. Leaving the loop early, ``aclose()``, or
    cancelling who reads ends the function. It has one reader at a time.

    Raises:
        RequestError: from the iteration. What the function raised comes behind the items that it yielded before, so
            does a lost connection behind what had come; a deadline ends it at once.
    """

    _op = Op.STREAM

    def __init__(self, asked: StreamRequest) -> None:
        self._asked = asked
        self._receive_stream = asked.receive_stream()
        self._send_stream: SendStream | None = None
        self._bell = self._receive_stream.waker = Waker()
        self._entry: PendingRequest | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reader: weakref.ref[asyncio.Task[Any]] | None = None  # the task that has read last
        self._opening = self._over = self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        items = self._receive_stream.items
        return items.pop() if items else await self._more()

    async def _more(self) -> Any:
        self._bell.check_free()
        self._note_reader()
        receive_stream = self._receive_stream
        entry = self._entry
        if entry is None:
            if self._over:  # before it began
                raise StopAsyncIteration
            entry = await self._open()
        waiter = entry.waiter
        while not receive_stream.pop_chunk():
            if self._over:
                raise StopAsyncIteration
            if waiter.done():
                self._over = True
                if (error := waiter.exception()) is not None:
                    raise self._asked.told(error)
                raise StopAsyncIteration
            self._asked.sender.wait(entry)
            try:
                await self._asked.wait_idle(entry, self._bell.wait)
            except (asyncio.CancelledError, RequestTimeout):
                self._end()
                raise
        if receive_stream.needs_credit:
            self._asked.sender.grant_credit(entry)
        return receive_stream.items.pop()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def take_buffered(self) -> list[Any]:
        """Takes what came together with the last item, without waiting: the next one stands at the end."""
        items, self._receive_stream.items = self._receive_stream.items, []
        return items

    async def aclose(self) -> None:
        """Ends the function if it has not ended; nothing more comes."""
        self._end()

    def __del__(self) -> None:
        # A loop that was left by ``break`` leaves nothing else behind. It may be another thread that finds out.
        if self._entry is not None and not self._over and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop has ended
                self._loop.call_soon_threadsafe(_drop, self._asked.sender, self._entry)

    async def _open(self) -> PendingRequest:
        if self._opening:
            raise RuntimeError("another task opens this stream already: one at a time")
        if self._entry is not None or self._over:
            raise RuntimeError("a stream is opened once: ask the function again for another")
        self._opening = True
        try:
            entry = await self._asked.open(self._op, self._receive_stream, self._send_stream)
        except BaseException:
            self._over = True
            raise
        finally:
            self._opening = False
        self._entry = entry
        self._loop = asyncio.get_running_loop()
        # Neither of them may hold the stream: it could not be forgotten while it runs.
        entry.waiter.add_done_callback(self._bell.wake)
        entry.waiter.add_done_callback(_noticed)
        if self._over:  # closed meanwhile
            _drop(self._asked.sender, entry)
        return entry

    def _note_reader(self) -> None:
        task = asyncio.current_task()
        self._reader = None if task is None else weakref.ref(task)

    def _end(self, *, keep: bool = False) -> None:
        """Ends the function; ``keep``: what has come is left to its reader."""
        if not self._over and self._entry is not None:
            _drop(self._asked.sender, self._entry)
        self._over = self._closed = True
        if not keep:
            self._receive_stream.clear()


@set_module("mpzmq")
class Channel(ReplyStream):
    """Items in both directions: ``async with service.channel(...) as channel``, then ``send()``, and iterate.

    Leaving ``async with`` says that nothing follows, and waits until the function is done with all that was sent: until
    it has ended, or has yielded behind it. What it yields meanwhile is dropped, unless another task reads: that gets
    what has come by then, and the end behind it. Then the function is ended if it has not ended. ``timeout``,
    ``idle_timeout`` and a lost connection end the wait, and the block raises. Where the block is left by an exception,
    or behind ``aclose()``, the function is ended at once.

    Any number of tasks may send; one at a time reads.
    """

    _op = Op.CHANNEL

    def __init__(self, asked: StreamRequest) -> None:
        super().__init__(asked)
        self._send_stream: SendStream = SendStream()
        self._leaving: ItemWriter | None = None
        self._finished = self._told = False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._hand_over()
        finally:
            self._end(keep=kind is None and self._read_elsewhere() is not None)

    async def _open(self) -> PendingRequest:
        entry = await super()._open()
        self._leaving = self._asked.leaving(entry)
        entry.waiter.add_done_callback(functools.partial(_sender_over, self._asked.sender, entry))
        return entry

    async def send(self, item: Any) -> None:
        """Sends one item; waits while the function does not take them as fast as they come.

        Tasks that send at the same time take turns, in the order in which they came. An item is sent when this returns,
        and not at all when it raises or is cancelled: it may be sent again then, by ``asyncio.wait_for()``, too.

        Args:
            item: any value that a message can carry.

        Raises:
            RequestError: the channel has ended, and why: ``ConnectionClosed`` if its function is done.
            EncodeError, MessageTooLarge: this item cannot be sent; the channel goes on.
            RuntimeError: the channel is not open, or ``send_eof()`` was called.
        """
        leaving, entry = self._leaving, self._entry
        if leaving is None or entry is None:
            raise RuntimeError("the channel is not open: use 'async with'")
        if self._closed:
            raise RuntimeError("the channel is closed")
        self._check_unfinished()
        try:
            if (failure := leaving.failure) is not None:
                raise self._asked.told(failure)
            if not leaving.is_free:
                await self._asked.wait_idle(entry, leaving.drain)
        except RequestError:
            self._told = True
            raise
        self._check_unfinished()
        leaving.put(item)  # nothing is awaited behind it

    async def send_eof(self) -> None:
        """Says that nothing follows: the function's iteration ends, and it can go on to yield.

        What other tasks have begun to send goes before it. It is not said where this is cancelled.
        """
        leaving, entry = self._leaving, self._entry
        if leaving is None or entry is None:
            raise RuntimeError("the channel is not open: use 'async with'")
        if not self._finished:
            await self._asked.wait_idle(entry, leaving.turn)
            self._finished = True
            leaving.write_eof()

    def _read_elsewhere(self) -> asyncio.Task[Any] | None:
        """The other task that reads, if there is one."""
        reader = None if self._reader is None else self._reader()
        return None if reader is None or reader.done() or reader is asyncio.current_task() else reader

    def _drop_items(self, entry: PendingRequest) -> None:
        """Takes what has come, so that the function can go on, for nobody."""
        receive_stream = self._receive_stream
        receive_stream.items.clear()
        while receive_stream.pop_chunk():
            receive_stream.items.clear()
        if receive_stream.needs_credit:
            self._asked.sender.grant_credit(entry)

    def _check_unfinished(self) -> None:
        if self._finished:
            raise RuntimeError("send_eof() was called: nothing can follow")

    async def _hand_over(self) -> None:
        """Waits until the function is done with all that was sent.

        Raises:
            RequestError: it has failed, and nobody was told of it yet.
        """
        entry, flow = self._entry, self._send_stream
        if entry is None or self._over or self._told or not flow.count:
            return
        await self.send_eof()
        await asyncio.sleep(0)  # a task that was made to read can begin
        waiter = entry.waiter
        while not (flow.is_handled or waiter.done()):
            if (reader := self._read_elsewhere()) is not None:
                flow.waker = Waker()
                reader.add_done_callback(flow.waker.wake)
            else:
                flow.waker = self._bell
                self._drop_items(entry)
            try:
                await self._asked.wait_idle(entry, flow.waker.wait)
            finally:
                if reader is not None:
                    reader.remove_done_callback(flow.waker.wake)
        if waiter.done() and not waiter.cancelled() and (error := waiter.exception()) is not None:
            raise self._asked.told(error)


async def upload(asked: StreamRequest, items: AsyncIterable[Any] | Iterable[Any]) -> Any:
    """Sends items to a function that takes a stream, and returns what it returns.

    Nothing is taken from ``items`` before the container has taken the request, and nothing after the function has
    ended.
    """
    iterator = each_of(items)
    entry = await asked.open(Op.UPLOAD, None, SendStream())
    entry.waiter.add_done_callback(_noticed)
    pump = asyncio.ensure_future(_pump(asked, entry, iterator))
    pump.add_done_callback(_noticed)  # the request's own error comes first
    try:
        await asyncio.wait((pump, entry.waiter), return_when=asyncio.FIRST_COMPLETED)
        if pump.done() and not entry.waiter.done():
            pump.result()  # it has raised, or everything was sent
        return (await entry.waiter)[2]
    except RequestError as error:
        raise asked.told(error) from None
    finally:
        _drop(asked.sender, entry)
        try:
            if not pump.done():
                pump.cancel()
                await asyncio.wait((pump,))
        finally:
            # Either keeps the error that is raised, whose traceback keeps this frame.
            entry.waiter = None
            del pump


async def _pump(asked: StreamRequest, entry: PendingRequest, iterator: AsyncIterator[Any]) -> None:
    leaving = asked.leaving(entry)
    flow = entry.send_stream
    assert flow is not None
    try:
        await asked.wait_idle(entry, leaving.wait_accepted)
        async for item in iterator:
            if not leaving.put(item):
                await asked.wait_idle(entry, leaving.drain)
        leaving.write_eof()
        await asked.wait_idle(entry, leaving.wait_acknowledged)
    finally:
        if hasattr(iterator, "aclose"):
            await iterator.aclose()


def checked_items(items: Iterable[Any]) -> Iterable[Any]:
    """Items that are plain.

    Raises:
        TypeError: they are one value, even if it can be iterated.
    """
    if isinstance(items, Iterable) and not isinstance(items, str | bytes | bytearray | memoryview | dict):
        return items
    raise TypeError(f"the items are an async iterable, or a plain one, and not {type(items).__name__}")


def each_of(items: AsyncIterable[Any] | Iterable[Any]) -> AsyncIterator[Any]:
    """The items of whatever can be iterated.

    Raises:
        TypeError: they are one value, even if it can be iterated.
    """
    return aiter(items) if isinstance(items, AsyncIterable) else _plain(checked_items(items))


async def _plain(items: Iterable[Any]) -> AsyncIterator[Any]:
    try:
        for item in items:
            yield item
    finally:
        if isinstance(items, Generator):
            items.close()


def _sender_over(sender: RequestSender, entry: PendingRequest, waiter: asyncio.Future[Any]) -> None:
    """Tells whoever sends on a channel that it has ended. No method: a channel that was dropped must not live on."""
    flow = entry.send_stream
    assert flow is not None
    if waiter.cancelled():
        flow.failure = sender.closed_error(entry, here=True)
    else:
        error = waiter.exception()
        flow.failure = error if isinstance(error, Exception) else sender.closed_error(entry)
    flow.waker.wake()


def _noticed(waiter: asyncio.Future[Any]) -> None:
    """Where nobody reads on, the error of a stream is for nobody: asyncio is not to complain of it."""
    if not waiter.cancelled():
        waiter.exception()


def _drop(sender: RequestSender, entry: PendingRequest) -> None:
    """Ends a request that nobody waits for."""
    sender.cancel(entry)
    entry.waiter.cancel()
