"""The items of a function that yields, for programs without an event loop."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..common.set_module import set_module
from ..errors import ConnectionClosed
from ..models import Executed, StreamProgress
from .loop_thread import Closed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from ..engine.streams import ReplyStream
    from .loop_thread import LoopThread

__all__ = ["BlockingStream"]

_T = TypeVar("_T")

_END = object()


@set_module("mpzmq.blocking")
class BlockingStream:
    """The items of a function that yields: an iterator that ends as the function does.

    The request is sent when the first item is asked for, or by ``with``. Leaving the loop early, ``close()``, or Ctrl-C
    ends the function. One thread at a time reads it.

    Raises:
        RequestError: from the iteration, as from that of a :class:`mpzmq.ReplyStream`.
    """

    def __init__(self, stream: ReplyStream, thread: LoopThread, shown: str) -> None:
        self._stream: ReplyStream | None = stream
        self._thread = thread
        self._shown = shown
        self._here: list[Any] = []  # the next one at the end
        self._received = 0
        self._asked = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._here:
            self._here = self._fetch()
            self._received += len(self._here)
        return self._here.pop()

    def __enter__(self) -> Self:
        if self._stream is not None:
            self._do(self._stream.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the function if it has not ended; nothing more comes. Idempotent."""
        stream, self._stream = self._stream, None
        self._here.clear()
        if stream is not None and not self._thread.is_inherited:
            with contextlib.suppress(Closed):
                self._thread.do(stream.aclose)

    def _fetch(self) -> list[Any]:
        """All that came together: a change of threads for each item would take longer than most of them."""
        stream = self._stream
        if stream is None:
            raise StopIteration

        async def fetched() -> list[Any]:
            item = await anext(stream, _END)
            return [] if item is _END else [*stream.take_buffered(), item]

        try:
            items = self._do(fetched)
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C, which may have come before the stream was even asked
                self.close()
            raise
        if not items:
            self._stream = None
            raise StopIteration
        return items

    def _do(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        try:
            result = self._thread.do(work)
        except Closed:
            self._stream = None
            executed = Executed.UNKNOWN if self._asked else Executed.NO
            if self._received:
                executed = Executed.YES
            text = f"the stream of container {self._shown} ended early: its handle is closed"
            error = ConnectionClosed(text, executed=executed)
            error.progress = StreamProgress(received=self._received)
            try:
                raise error from None
            finally:
                del error  # its traceback keeps this frame
        self._asked = True
        return result
