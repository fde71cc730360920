"""``mpzmq mcp``: a real process that speaks over its stdin and stdout, and over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.client import Client

from mpzmq.cli.mcp import _serve_stdio
from mpzmq.mcp import server as mcp_server
from mpzmq.testing import ContainerProcess
from tests.support.commands import SECONDS, SERVER, called
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a container."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "desk.py").write_text(SERVER)
    with ContainerProcess("desk:server", folder=folder) as process:
        yield process.endpoint


def say(process: Any, **message: Any) -> None:
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    process.stdin.flush()


def ask(process: Any, number: int, method: str, **params: Any) -> Any:
    say(process, id=number, method=method, params=params)
    while True:
        message = json.loads(process.stdout.readline())
        if message.get("id") == number:
            return message


def begin(process: Any) -> None:
    client = {"name": "test", "version": "1"}
    answer = ask(process, 1, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client)
    assert answer["result"]["serverInfo"]["name"] == "mpzmq"
    assert answer["result"]["protocolVersion"] == "2025-11-25"
    say(process, method="notifications/initialized")


def test_a_conversation_over_stdin_and_stdout(start: Any, desk: str) -> None:
    process = start("mcp", desk, "--allow", "add", "--allow", "slow", stdin=subprocess.PIPE)
    begin(process)

    (add, slow) = ask(process, 2, "tools/list")["result"]["tools"]
    assert (add["name"], slow["name"]) == ("add", "slow")
    result = ask(process, 3, "tools/call", name="add", arguments={"a": 1, "b": 2})["result"]
    assert result["content"] == [{"type": "text", "text": "3"}]
    assert ask(process, 4, "tools/call", name="echo", arguments={})["error"]["code"] == -32602
    say(process, id=5, method="tools/call", params={"name": "slow", "arguments": {"seconds": 60}})
    process.stdin.close()

    assert process.wait(SECONDS) == 0
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(start: Any, desk: str, number: signal.Signals) -> None:
    process = start("mcp", desk, "--allow", "slow", stdin=subprocess.PIPE)
    begin(process)
    say(process, id=2, method="tools/call", params={"name": "slow", "arguments": {"seconds": 60}})
    process.send_signal(number)

    assert process.wait(SECONDS) == 0
    assert "Traceback" not in process.stderr.read()


async def test_a_client_that_does_not_read_the_end_is_gone() -> None:
    @asynccontextmanager
    async def closed() -> AsyncIterator[Any]:
        """What the SDK does when stdin ends, and stdout is closed while it writes."""
        sending, reading = anyio.create_memory_object_stream[Any](0)
        writing, receiving = anyio.create_memory_object_stream[Any](0)
        sending.close()
        async with reading, writing, receiving:
            yield reading, writing
        raise ExceptionGroup("unhandled errors in a TaskGroup", [BrokenPipeError(32, "Broken pipe")])

    await soon(_serve_stdio(mcp_server("127.0.0.1:1", allow=["add"]), closed))


def status_of(url: str, **headers: str) -> int:
    client = {"name": "test", "version": "1"}
    given = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": given}).encode()
    form = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, form | headers), timeout=SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def test_it_listens_over_http(start: Any, desk: str) -> None:
    process = start("mcp", desk, "--allow", "add", "--http", "127.0.0.1:0", "--json")
    url = json.loads(process.stdout.readline())["url"]
    assert url.endswith("/mcp")

    async with Client(url) as client:
        (tool,) = (await client.list_tools()).tools
        assert tool.name == "add"
        result = await client.call_tool("add", {"a": 1, "b": 2})
        assert result.content[0].text == "3"  # type: ignore[union-attr]
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0
    assert "Traceback" not in process.stderr.read()


def test_whom_it_takes_over_http(start: Any, desk: str) -> None:
    process = start("mcp", desk, "--allow", "add", "--http", "127.0.0.1:0", "--host-name", "Tools.Example")
    url = process.stdout.readline().strip()

    for host in ("localhost", "LOCALHOST:1", "192.0.2.7:8931", "[2001:db8::1]:8931", "box", "tools.example"):
        assert (host, status_of(url, Host=host)) == (host, 200)
    for host in ("evil.example", "tools.example.evil.example", "localhost.", "http://localhost"):
        assert (host, status_of(url, Host=host)) == (host, 421)
    for page in ("http://localhost:3000", "http://[::1]", "https://tools.example", "http://tools.example:8080"):
        assert (page, status_of(url, Origin=page)) == (page, 200)
    for page in ("http://evil.example", "null", "http://192.0.2.7", "http://localhost.evil.example", "http://[", "box"):
        assert (page, status_of(url, Origin=page)) == (page, 403)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["127.0.0.1:1"], 64, "--allow"),
        (["nowhere", "--allow", "add"], 64, "port"),
        (["127.0.0.1:1", "--allow", "add", "--http", "nowhere"], 64, "port"),
        (["127.0.0.1:1", "--allow", "add", "--http", "0.0.0.0:0"], 77, "--insecure"),
        (["127.0.0.1:1", "--allow", "add", "--insecure"], 64, "--http"),
        (["127.0.0.1:1", "--allow", "add", "--keys", "none"], 64, "--server-key"),
    ],
)
def test_it_does_not_serve(args: list[str], code: int, words: str) -> None:
    result = called("mcp", *args)

    assert result.returncode == code, result.stderr
    assert words in result.stderr and not result.stdout


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.lowlevel", None)
    result = called("mcp", "127.0.0.1:1", "--allow", "add")
    assert result.returncode == 69
    assert "mpzmq mcp needs mcp: install mpzmq-engine[mcp]" in result.stderr
