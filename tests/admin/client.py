"""A client of admin endpoints that says what it is told to say, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.support.waiting import soon

__all__ = ["Answer", "address_of", "get", "said", "status_of"]


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None and parts.port is not None
    return parts.hostname, parts.port


async def said(url: str, request: bytes, *, half_close: bool = False) -> Answer | None:
    """Says that, and reads to the end; None: it was closed without a word."""
    reader, writer = await asyncio.open_connection(*address_of(url))
    try:
        # It may be closed while this side still writes: then what it has said is still there to be read.
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
            if half_close:
                writer.write_eof()
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := await soon(reader.read(65536)):
                received += part
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    if not received:
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    named = [line.partition(": ") for line in lines]
    headers = {name.lower(): value for name, _, value in named}
    return Answer(int(first.split()[1]), headers, body)


async def get(url: str, path: str, *, method: str = "GET", host: str = "127.0.0.1") -> Answer:
    answer = await said(url, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer is not None
    return answer


async def status_of(url: str) -> dict[str, Any]:
    answer = await get(url, "/status.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    found = json.loads(answer.body)
    assert isinstance(found, dict)
    return found
