"""Streams as the application sees them: what goes in by put(), and what comes out by iteration."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from ..errors import MessageTooLarge
from ..protocol.flow.outbox import CORKED_BYTES
from ..protocol.flow.send_stream import OVERHEAD
from ..protocol.wire.values import unchanging
from .waiters import FairQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..protocol.flow.receive_stream import ReceiveStream
    from ..protocol.flow.send_stream import SendStream
    from ..protocol.wire.encoder import Encoder
    from ..protocol.wire.values import Buffer

__all__ = ["ItemReader", "ItemWriter", "Waker", "wake_all"]


class Waker:
    """Wakes the one who waits for a stream."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    def wake(self, _: object = None) -> None:
        """Something has happened that was perhaps waited for."""
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)

    def check_free(self) -> None:
        """Before anything is taken by one task that another one waits for.

        Raises:
            RuntimeError: another task waits.
        """
        if self._future is not None:
            raise RuntimeError("another task reads this stream already: one at a time")

    async def wait(self, timeout: float | None = None) -> None:
        """Waits to be woken.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            TimeoutError: it did not come in time.
            RuntimeError: another task waits already.
        """
        self.check_free()
        self._future = future = asyncio.get_running_loop().create_future()
        try:
            if timeout is None:
                await future
            else:
                async with asyncio.timeout(timeout):
                    await future
        finally:
            self._future = None


def wake_all(wakers: Sequence[Waker | FairQueue | None]) -> None:
    """Wakes those who wait at streams. None: nobody has waited for that one yet."""
    for waker in wakers:
        if waker is not None:
            waker.wake()


class ItemWriter:
    """The end of a stream at which items are put in.

    Args:
        flow: takes them.
        encoder: writes them.
        message_bytes: the largest message that both sides accept.
        schedule_write: called when something may leave that could not before, or is much.
    """

    def __init__(
        self, flow: SendStream, encoder: Encoder, message_bytes: int, schedule_write: Callable[[], None]
    ) -> None:
        self._flow = flow
        self._encoder = encoder
        self._max_bytes = message_bytes - OVERHEAD
        self._schedule_write = schedule_write
        self._queue: FairQueue = FairQueue()
        flow.waker = self._queue

    @property
    def is_free(self) -> bool:
        """Whether an item may be put in at once: there is room, and nobody waits for it."""
        return self._flow.has_room and not self._queue.waiting

    def put(self, item: Any) -> bool:
        """One item more, which leaves with the others of this pass of the event loop.

        Returns:
            Whether there is room for another; if not, :meth:`drain` is to be waited for.

        Raises:
            EncodeError: a message cannot carry it.
            MessageTooLarge: one of the sides does not accept a message of that size.
        """
        flow, encoder = self._flow, self._encoder
        buffers: list[Buffer] = []
        prepared = encoder.prepare(item, "item", buffers)
        body = encoder.pack(prepared, "item")
        size = len(body)
        if buffers:
            # It may wait for credit, and its owner may write to it meanwhile.
            buffers = [unchanging(buffer) for buffer in buffers]
            size += sum(map(len, buffers))
        if size > self._max_bytes:
            text = f"an item has {size} bytes, and at most {self._max_bytes} are accepted: send less at a time"
            raise MessageTooLarge(
                f"{text}, or raise Limits.message_bytes on both sides", size=size, limit=self._max_bytes
            )
        has_room = flow.write(body, buffers, size)
        if not flow.is_ready or size >= CORKED_BYTES:
            self._schedule_write()
            has_room = flow.has_room
        return has_room

    @property
    def failure(self) -> Exception | None:
        """With which the stream has ended."""
        return self._flow.failure

    async def drain(self, timeout: float | None = None) -> None:
        """Waits until there is room for one more, or nothing can follow; first come, first served.

        Args:
            timeout: seconds without any credit; None: for ever.

        Raises:
            TimeoutError: none came.
        """
        flow = self._flow
        await self._queue.wait(lambda: flow.has_room or flow.is_finished or flow.failure is not None, timeout)
        self._check()

    async def turn(self, timeout: float | None = None) -> None:
        """Waits for those who wait for room. Arguments and errors are those of :meth:`drain`."""
        if self._queue.waiting:
            await self._queue.wait(lambda: True, timeout)

    async def wait_accepted(self, timeout: float | None = None) -> None:
        """Waits for the first credit: the other side has taken the request. Arguments and errors are those of
        :meth:`drain`."""
        flow = self._flow
        await self._queue.wait(lambda: flow.has_credit or flow.failure is not None, timeout)
        self._check()

    def write_eof(self) -> None:
        """Nothing follows."""
        self._flow.finish()
        if not self._flow.is_ready:
            self._schedule_write()

    async def wait_acknowledged(self, timeout: float | None = None) -> None:
        """Waits until the other side has everything. Arguments and errors are those of :meth:`drain`."""
        flow = self._flow
        await self._queue.wait(lambda: flow.is_received or flow.failure is not None, timeout)
        self._check()

    def _check(self) -> None:
        """Raises the error with which the stream has ended, if it has: a copy, as it may be asked for again."""
        if self._flow.failure is not None:
            raise copy.copy(self._flow.failure)


class ItemReader:
    """What a handler reads that takes a stream: an async iterator of the items of an upload or a channel.

    Args:
        flow: gives them.
        acknowledge: called when the other side should hear that it may send more.

    Raises:
        ConnectionLost: from the iteration; the connection to the engine was lost. ``progress`` tells how many items
            had come; those were given out before. ``ConnectionClosed``, which is one, if nobody waits any more for a
            handler that is not cancellable.
    """

    def __init__(self, flow: ReceiveStream, acknowledge: Callable[[], None]) -> None:
        self._flow = flow
        self._acknowledge = acknowledge
        self._waker = flow.waker = Waker()

    def __aiter__(self) -> ItemReader:
        return self

    async def __anext__(self) -> Any:
        items = self._flow.items
        return items.pop() if items else await self._more()

    async def _more(self) -> Any:
        flow = self._flow
        self._waker.check_free()
        flow.on_asked()
        while not flow.pop_chunk():
            if flow.is_over:
                raise StopAsyncIteration
            if flow.failure is not None:
                raise copy.copy(flow.failure)
            await self._waker.wait()
        if flow.needs_credit:
            self._acknowledge()
        return flow.items.pop()
