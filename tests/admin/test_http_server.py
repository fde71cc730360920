"""The HTTP server, met by clients of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from mpzmq.admin import http_server
from mpzmq.admin.http_server import HttpServer, Reply, Request, text_reply
from tests.admin.client import address_of, get, said
from tests.support.waiting import scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def respond(request: Request) -> Reply:
        match request.path:
            case "/fails":
                raise ValueError("not for clients")
            case "/large":
                return Reply(HTTPStatus.OK, bytes(8_000_000), "application/octet-stream")
            case "/never":
                await asyncio.Event().wait()
        return text_reply(HTTPStatus.OK, f"{request.method} {request.path} {request.host}")

    server = HttpServer(respond)
    try:
        yield f"http://127.0.0.1:{await server.listen('127.0.0.1', 0)}/"
    finally:
        await server.close()


async def test_a_reply_says_how_long_it_is_and_how_to_treat_it(url: str) -> None:
    answer = await get(url, "/a?b=c", host="localhost:80")
    assert (answer.status, answer.text) == (200, "GET /a localhost:80\n")
    assert answer.headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(answer.body)),
        "connection": "close",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
    }


async def test_head_is_get_without_a_body(url: str) -> None:
    answer = await get(url, "/a", method="HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "18", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
async def test_other_methods_are_told_which_there_are(url: str, method: str) -> None:
    answer = await get(url, "/", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01", 400, id="tls"),
        pytest.param(b"\x00" * 20_000, 400, id="zeros"),
        pytest.param(b"\r\n\r\n", 400, id="nothing"),
        pytest.param(b"GET\r\n\r\n", 400, id="no path"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400, id="another version"),
        pytest.param(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="two spaces"),
        pytest.param(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="a proxy's"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="no ASCII"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400, id="two hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, id="a space in front of the colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400, id="a folded header"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, id="a bare newline"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n", 400, id="a zero"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 413, id="a body"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413, id="chunks"),
        pytest.param(b"GET /" + b"a" * 20_000, 431, id="a long line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5_000 + b"\r\n", 431, id="many headers"),
    ],
)
async def test_what_is_no_request_is_told_so(url: str, request_bytes: bytes, status: int) -> None:
    answer = await said(url, request_bytes)
    assert answer is None or answer.status == status  # None: it went on talking, and was cut off
    assert answer is not None or len(request_bytes) > http_server.MAX_HEAD
    assert (await get(url, "/next")).status == 200


async def test_as_many_bytes_as_may_be(url: str) -> None:
    padding = http_server.MAX_HEAD - len(OK) - len(b"X: \r\n")
    answer = await said(url, OK[:-2] + b"X: " + b"y" * padding + b"\r\n\r\n")
    assert answer is not None and answer.status == 200


async def test_http_1_0_needs_no_host(url: str) -> None:
    answer = await said(url, b"GET /a HTTP/1.0\r\n\r\n")
    assert answer is not None and answer.text == "GET /a None\n"


@pytest.mark.parametrize("behind", [OK, OK * 100, b"garbage", b"\x00" * 1000], ids=["one", "many", "garbage", "zeros"])
async def test_of_a_pipeline_the_first_is_answered(url: str, behind: bytes) -> None:
    answer = await said(url, b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n" + behind)
    assert answer is not None and answer.text == "GET /first a\n"


async def test_a_client_may_say_that_it_has_no_more_to_ask(url: str) -> None:
    answer = await said(url, OK, half_close=True)
    assert answer is not None and answer.status == 200
    assert await said(url, b"GET / HT", half_close=True) is None


async def test_a_request_byte_by_byte(url: str) -> None:
    reader, writer = await asyncio.open_connection(*address_of(url))
    for byte in OK:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert (await soon(reader.read(12))) == b"HTTP/1.1 200"
    writer.close()
    await writer.wait_closed()


async def test_what_fails_is_told_in_the_log_only(url: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = await get(url, "/fails")
    assert answer.status == 500 and "not for clients" not in answer.text
    assert "not for clients" in caplog.text


async def test_a_slow_request_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.05)
    answer = await said(url, b"GET / HTTP/1.1\r\n")
    assert answer is not None and answer.status == 408


@pytest.mark.parametrize("path", ["/never", "/large"])
async def test_a_reply_that_is_not_taken_or_not_made_is_given_up(
    url: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REPLY_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection(*address_of(url), limit=1000)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    await asyncio.sleep(0.4)  # it reads nothing meanwhile
    received = 0
    with contextlib.suppress(ConnectionError):
        while part := await soon(reader.read(65536)):
            received += len(part)
    assert received < 8_000_000
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_whoever_holds_all_places_keeps_nobody_out(url: str) -> None:
    held = [await asyncio.open_connection(*address_of(url)) for _ in range(http_server.MAX_CONNECTIONS + 10)]
    assert (await get(url, "/")).status == 200
    with contextlib.suppress(ConnectionError):
        assert await soon(held[0][0].read()) == b""  # the oldest had to go
    for _, writer in held:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_close_ends_what_is_under_way_and_frees_the_port() -> None:
    begun = asyncio.Event()

    async def respond(_: Request) -> Reply:
        begun.set()
        await asyncio.Event().wait()
        return text_reply(HTTPStatus.OK, "never")

    server = HttpServer(respond)
    port = await server.listen("127.0.0.1", 0)
    asking = asyncio.create_task(said(f"http://127.0.0.1:{port}/", OK))
    await soon(begun.wait())
    await server.close()
    assert await soon(asking) is None
    again = HttpServer(respond)
    assert await again.listen("127.0.0.1", port) == port
    await again.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_a_child_process_keeps_no_port(url: str) -> None:
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()

    def child() -> None:
        ready.set()
        go.wait(scaled(10.0))

    server = HttpServer(lambda _: asyncio.get_running_loop().create_future())
    port = await server.listen("127.0.0.1", 0)
    process = context.Process(target=child, daemon=True)
    process.start()
    try:
        await until(ready.is_set)
        await server.close()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await soon(asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port)))
    finally:
        go.set()
        process.join(scaled(10.0))
        process.close()
