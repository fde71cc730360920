"""A client has to say what it wants, soon, and in so many bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("uvicorn", reason="the extra gateway is not installed")

from mpzmq.cli import bounded_http
from mpzmq.cli.bounded_http import MAX_HEAD, BoundedHttpProtocol
from tests.asgi.served import listening
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


async def length(scope: Any, receive: Any, send: Any) -> None:
    """Tells how long the body is."""
    if scope["type"] != "http":
        return
    size, message = 0, {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        size += len(message.get("body", b""))
    body = b"%d;" % size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with listening(length, http=BoundedHttpProtocol, lifespan="off") as address:
        yield address


async def said(address: str, *pieces: bytes) -> bytes:
    """Says them one after the other, as far as they are taken, and reads to the end."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await soon(reader.read())
    except ConnectionError:
        return b"reset"
    finally:
        writer.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [POST + b"X: ", *[b"x" * 16_384] * 100],
        [POST, *[b"X: %b\r\n" % (b"x" * 1000)] * 2000],
        [POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", *[b"x" * 16_384] * 100],
        [POST + b"Transfer-Encoding: chunked\r\n\r\n3;", *[b"x" * 16_384] * 100],
        [b"POST /", *[b"x" * 16_384] * 100],
    ],
    ids=["a header", "headers", "a trailer", "an extension of a chunk", "a path"],
)
async def test_what_is_no_body_has_a_bound(address: str, pieces: list[bytes]) -> None:
    answer = await said(address, *pieces)
    assert answer == b"reset" or b"431 Request Header Fields Too Large" in answer


async def test_bodies_are_for_the_application(address: str) -> None:
    large = POST + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%b\r\n" % (b"x" * 65_536) * 10 + b"0\r\n\r\n"
    last = POST + b"Connection: close\r\n\r\n"
    answers = await said(address, large, chunked, last)
    assert [text.rpartition(b"\r\n")[2] for text in answers.split(b";")] == [b"3000000", b"655360", b"0", b""]
    head = POST + b"X: %b\r\nConnection: close\r\n\r\n" % (b"x" * (MAX_HEAD - 1000))
    assert (await said(address, head[:1000], head[1000:])).endswith(b"0;")


@pytest.mark.parametrize("head", [b"", POST, POST + b"Content-Length: 0\r\n\r\n" + POST])
async def test_a_head_that_does_not_come(address: str, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_SECONDS", 0.1)
    answer = await said(address, head)
    assert b"408 Request Timeout" in answer
    assert answer.count(b"200 OK") == head.count(b"Length")
