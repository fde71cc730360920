"""Through a real server: HTTP, curl, a browser, and clients whose connections break."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from mpzmq.asgi import gateway
from mpzmq.asgi.known_hosts import for_known_hosts
from mpzmq.testing import connected
from tests.asgi.conftest import OPEN
from tests.asgi.served import listening, said
from tests.support.chromium import CHROMIUM, opened
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.asgi.conftest import Served

CURL = shutil.which("curl")
HEAD = b"POST /call/%b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/%b\r\n"
IN_A_PAGE = """
(async () => {
  const ask = (name, body, accept) => fetch("/call/" + name, {
    method: "POST", body: JSON.stringify(body), headers: {"Content-Type": "application/json", "Accept": accept}});
  const sum = await (await ask("add", [1, 2], "application/json")).json();
  const failed = await ask("fail", [], "*/*");
  const stream = await ask("count", [3], "text/event-stream");
  let text = "";
  for (const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();;) {
    const {done, value} = await reader.read();
    if (done) break;
    text += value;
  }
  const leaving = new AbortController();
  const slow = fetch("/call/slow", {method: "POST", body: "[]", signal: leaving.signal,
    headers: {"Content-Type": "application/json"}}).catch((error) => error.name);
  while ((await (await ask("running", [], "*/*")).json()).result < 1) await new Promise((go) => setTimeout(go, 10));
  leaving.abort();
  return [sum, failed.status, (await failed.json()).error.code, text, await slow];
})()
"""
FROM_ANOTHER_SITE = """
fetch("http://%s/call/add", {method: "POST", body: "[1]", %s}).then(() => "read", () => "kept out")
"""


@pytest.fixture
async def address(served: Served) -> AsyncIterator[str]:
    @served.server.function
    def running() -> int:
        return served.running

    async with connected(served.server) as container:
        app = gateway(container, allow=[*OPEN, "running"])
        async with listening(for_known_hosts(app, {"calc.example.com"})) as address:
            yield address


async def curl(*args: str, says: bytes = b"") -> tuple[str, str]:
    """What it prints, and the status."""
    pipe = asyncio.subprocess.PIPE
    command = [str(CURL), "-sS", "--max-time", "20", "-w", "\n%{http_code}", *args]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await soon(process.communicate(says), 30)
    assert not err, err
    body, _, status = out.decode().rpartition("\n")
    return body, status


@pytest.mark.skipif(CURL is None, reason="there is no curl")
async def test_curl(address: str) -> None:
    url = f"http://{address}/call"
    json_, lines = ("-H", "Content-Type: application/json"), ("-H", "Content-Type: application/x-ndjson")
    assert await curl(f"{url}/add", *json_, "-d", "[1, 2]") == ('{"result":3}', "200")
    assert await curl(f"{url}/%C3%BCml%C3%A4ut", *json_, "-d", "[]") == ('{"result":"ü"}', "200")
    items = '{"item":0}\n{"item":1}\n{"end":{}}\n'
    assert await curl("-N", f"{url}/count", *json_, "-H", "Accept: application/x-ndjson", "-d", "[2]") == (items, "200")
    given = ("-T", "-", "-X", "POST")
    assert await curl(f"{url}/total", *lines, *given, says=b"[]\n1\n2\n") == ('{"result":3}', "200")
    both = await curl("-N", f"{url}/talk", *lines, "-H", "Accept: text/event-stream", *given, says=b'["!"]\n"a"\n')
    assert both == ('data: "a!"\n\nevent: end\ndata: {}\n\n', "200")
    assert await curl(f"{url}/add", "-d", "[1, 2]") == ('{"result":3}', "200")
    body, status = await curl(f"{url}/add", "-d", "[1, 2]", "-H", "Origin: https://example.org")
    assert (json.loads(body)["error"]["type"], status) == ("UnsupportedMediaType", "415")
    body, status = await curl("--path-as-is", f"{url}/../add", *json_, "-d", "[1]")
    assert status == "404"


async def test_many_requests_over_one_connection(address: str) -> None:
    async with httpx2.AsyncClient(base_url=f"http://{address}") as client:
        for number in range(3):
            answer = await client.post("/call/add", json=[number])
            assert answer.json() == {"result": number + 1}
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.head("/openapi.json")).status_code == 200
        async with client.stream("POST", "/call/count", json=[2], headers={"Accept": "text/event-stream"}) as stream:
            assert [line async for line in stream.aiter_lines() if line][-1] == "data: {}"
        assert (await client.post("/call/add", json=[7])).json() == {"result": 8}


@pytest.mark.parametrize(
    ("host", "status"),
    [(b"evil.example.com", 421), (b"calc.example.com:80", 200), (b"localhost", 200), (b"[::1]:8080", 200), (b"]", 421)],
)
async def test_it_is_for_those_who_mean_it(address: str, host: bytes, status: int) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host
    assert (await said(address, request)).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("name", "kind", "rest"),
    [
        (b"slow", b"json", b"Content-Length: 2\r\n\r\n[]"),
        (b"follow", b"json", b"Accept: text/event-stream\r\nContent-Length: 2\r\n\r\n[]"),
        (b"total", b"x-ndjson", b"Transfer-Encoding: chunked\r\n\r\n3\r\n[]\n\r\n2\r\n1\n\r\n"),
        (b"total", b"x-ndjson", b"Content-Length: 100\r\n\r\n[]\n1\n"),
    ],
)
@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_connections_that_break(served: Served, name: bytes, kind: bytes, rest: bytes, http: str) -> None:
    async with (
        connected(served.server) as container,
        listening(gateway(container, allow=OPEN), http=http) as address,
    ):
        _, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(HEAD % (name, kind) + rest)
        await until(lambda: served.running)

        writer.transport.abort()

        await until(lambda: served.ended == 1 and not served.running)


async def test_500_connections_that_break_leave_no_handler(served: Served) -> None:
    async with connected(served.server) as container, listening(gateway(container, allow=OPEN)) as address:
        writers = []
        for _ in range(500):
            _, writer = await asyncio.open_connection(*address.split(":"))
            writer.write(HEAD % (b"slow", b"json") + b"Content-Length: 2\r\n\r\n[]")
            writers.append(writer)
        await until(lambda: served.running == 500)

        for writer in writers:
            writer.transport.abort()

        await until(lambda: served.ended == 500 and served.server.statistics().in_flight == 0)
        assert served.running == 0 and container.statistics().in_flight == 0


async def test_requests_end_before_the_server_does(served: Served) -> None:
    async with connected(served.server) as container:
        async with listening(gateway(container, allow=OPEN)) as address:
            request = HEAD % (b"slow", b"json") + b"Content-Length: 2\r\n\r\n[]"
            asking = asyncio.create_task(said(address, request))
            await until(lambda: served.running)
            asyncio.get_running_loop().call_later(0.05, served.may_go_on.set)
        assert (await asking).endswith(b'{"result":"done"}')


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian: chromium)")
async def test_a_browser(address: str, served: Served, tmp_path: Path) -> None:
    async with opened(tmp_path) as page:
        await page.show(f"http://{address}/healthz")
        await page.until("document.body.innerText.includes('ok')")
        found: Any = await page.ask(IN_A_PAGE)
        events = "data: 0\n\ndata: 1\n\ndata: 2\n\nevent: end\ndata: {}\n\n"
        assert found == [{"result": 3}, 502, "funds", events, "AbortError"]
        await until(lambda: served.ended == 1)

        # Another site may neither read nor call: what a page may send without being asked for is no JSON.
        await page.show(f"http://{address.replace('127.0.0.1', 'localhost')}/healthz")
        await page.until("location.hostname === 'localhost' && document.body.innerText.includes('ok')")
        before = served.server.statistics()
        for options in ("headers: {'Content-Type': 'application/json'}", "headers: {'Content-Type': 'text/plain'}"):
            assert await page.ask(FROM_ANOTHER_SITE % (address, options)) == "kept out"
        assert served.server.statistics().received == before.received
