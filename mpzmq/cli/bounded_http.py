"""HTTP/1.1 for uvicorn, of which a client has to say something that makes sense: within a time, and a number of bytes.

uvicorn itself waits for the head of a request as long as a client likes, and gathers of it as much as comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["BoundedHttpProtocol"]

MAX_HEAD = 64 * 1024
"""Bytes that may come in one piece of a message that is no body: its head, or what stands behind a chunked one."""

HEAD_SECONDS = 10.0
"""For the head of a request to arrive."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._unread = 0  # bytes since the last step of a message, which are in the parser or in the list of headers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """For asyncio."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio."""
        self._has_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """For asyncio."""
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MAX_HEAD:
            self._refuse(b"431 Request Header Fields Too Large", f"a head has at most {MAX_HEAD:,} bytes")

    def on_message_begin(self) -> None:
        """For httptools."""
        self._unread = 0
        if self._timer is None:
            self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """For httptools."""
        self._unread = 0
        self._has_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """For httptools."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """For httptools."""
        self._unread = 0
        super().on_message_complete()

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._be_late)

    def _has_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _be_late(self) -> None:
        self._refuse(b"408 Request Timeout", f"no head of a request came within {HEAD_SECONDS:g} s")

    def _refuse(self, status: bytes, text: str) -> None:
        if self.transport.is_closing():
            return
        body = f"{text}\n".encode()
        head = (
            b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()
