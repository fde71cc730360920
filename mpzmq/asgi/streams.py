"""Streams as answers: items are taken from a function as its client takes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..common.logs import Log
from ..errors import MpzmqError, RequestError, RequestTimeout
from ..models import Executed
from .answers import ALWAYS, Problem
from .client import ClientGone
from .errors import document_of, internal_problem
from .formats import FORMATS

if TYPE_CHECKING:
    from ..engine.streams import Channel, ReplyStream
    from .bodies import Lines
    from .types import Send

__all__ = ["send_channel", "send_stream"]

log = Log(__name__)

BEGIN_AFTER = 1.0
"""Seconds for which the first item is waited for: what has failed by then is told by a status, and later by the last
event."""

IDLE_SECONDS = 15.0
"""Between two signs of life where there are no items: proxies close what is silent for a minute or so."""

_END: Any = object()


class _Batches:
    """The items of a stream, as many at a time as have come, with a wait that ends nothing when it is over."""

    def __init__(self, stream: ReplyStream) -> None:
        self._stream = stream
        self._reading: asyncio.Task[list[Any]] | None = None

    async def next(self, seconds: float) -> list[Any] | None:
        """The next items, none at the end; None: nothing has come for so long.

        Raises:
            RequestError: the stream has failed.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        await asyncio.wait((self._reading,), timeout=seconds)
        if not self._reading.done():
            return None
        reading, self._reading = self._reading, None
        return reading.result()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait((self._reading,))
            if not self._reading.cancelled():
                self._reading.exception()  # its end is nobody's concern any more
        await self._stream.aclose()

    async def _read(self) -> list[Any]:
        item = await anext(self._stream, _END)
        return [] if item is _END else [item, *reversed(self._stream.take_buffered())]


async def send_stream(stream: ReplyStream, kind: str, send: Send, seconds: float, pump: _Pump | None = None) -> None:
    """Opens a stream, and sends its items, to its end, or until it fails.

    Args:
        stream: of a function.
        kind: the type of the answer.
        send: of the application.
        seconds: for the stream to be opened, and for the client to take what is sent.
        pump: sends the items of the client meanwhile.

    Raises:
        RequestError, Problem: it has failed before anything was sent.
        ClientGone: the client has not taken anything for too long.
    """
    form, batches = FORMATS[kind], _Batches(stream)
    headers = [(b"content-type", kind.encode("ascii")), (b"x-accel-buffering", b"no"), *ALWAYS]
    try:
        await _open(stream, seconds)
        if pump is not None:
            pump.start()
        batch = await batches.next(BEGIN_AFTER)
        if pump is not None and batch == []:
            pump.check()
        await _taken(send, {"type": "http.response.start", "status": 200, "headers": headers}, seconds)
        try:
            while batch is None or batch:
                if data := form.idle if batch is None else form.items(batch):
                    await _taken(send, {"type": "http.response.body", "body": data, "more_body": True}, seconds)
                batch = await batches.next(IDLE_SECONDS)
            if pump is not None:
                pump.check()
            last = form.end
        except (MpzmqError, Problem) as error:
            last = form.error(document_of(error))
        except ClientGone:
            raise
        except Exception as error:  # of what the application has put around it
            last = form.error(document_of(internal_problem(error)))
        await _taken(send, {"type": "http.response.body", "body": last}, seconds)
    finally:
        if pump is not None:
            await pump.close()
        await batches.close()


async def send_channel(channel: Channel, lines: Lines, kind: str, send: Send, seconds: float) -> None:
    """The same of a channel, into which the lines of the body go meanwhile."""
    await send_stream(channel, kind, send, seconds, _Pump(channel, lines, seconds))


class _Pump:
    """Sends the lines of a body into a channel."""

    def __init__(self, channel: Channel, lines: Lines, seconds: float) -> None:
        self._channel = channel
        self._lines = lines
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def check(self) -> None:
        """Raises what has kept it from its end."""
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        try:
            async for item in self._lines:
                async with asyncio.timeout(self._seconds):
                    await self._channel.send(item)
            await self._channel.send_eof()
        except RequestError:
            pass  # who reads is told of the end of the channel
        except Exception as error:
            if isinstance(error, TimeoutError):
                error = RequestTimeout(f"the function has taken nothing for {self._seconds:g} s", executed=Executed.YES)
            self._failure = error
            await self._channel.aclose()


async def _open(stream: ReplyStream, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stream.__aenter__()
    except MpzmqError:  # of which some are a TimeoutError, too
        raise
    except TimeoutError:
        text = f"the stream was not opened within {seconds:g} s"
        raise RequestTimeout(text, executed=Executed.UNKNOWN) from None


async def _taken(send: Send, message: dict[str, Any], seconds: float) -> None:
    """Sends it; a client that reads no more is as good as gone."""
    try:
        async with asyncio.timeout(seconds):
            await send(message)
    except TimeoutError:
        log.info("a client has taken nothing of its stream for %g s: it is left", seconds)
        raise ClientGone from None
