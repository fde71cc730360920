"""What a web application does when its client leaves: the handler that works for it is cancelled."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Send

T = TypeVar("T")


class Lines(StreamingResponse):
    """Closes what it sends when its client has gone, which Starlette leaves to the garbage collector."""

    def __init__(self, lines: AsyncGenerator[str, None]) -> None:
        super().__init__(lines, media_type="text/plain")
        self._lines = lines

    async def stream_response(self, send: Send) -> None:
        async with contextlib.aclosing(self._lines):
            await super().stream_response(send)


async def unless_gone(request: Request, call: Coroutine[Any, Any, T]) -> T:
    """Awaits a call; cancels it, and so its handler in the container, when the HTTP client has gone."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    calling, leaving = asyncio.ensure_future(call), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((calling, leaving), return_when=asyncio.FIRST_COMPLETED)
        if calling.done():
            return calling.result()
        raise ClientDisconnect
    finally:
        calling.cancel()
        leaving.cancel()
        await asyncio.gather(calling, leaving, return_exceptions=True)
