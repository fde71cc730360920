"""``mpzmq mcp``: a real process that speaks over its stdin and stdout, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from mcp.client import Client

from mpzmq.testing import ContainerProcess
from tests.support.commands import SECONDS, SERVER, called

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def status_of(url: str, header: str) -> int:
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json", header: "http://evil.example"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
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
    for header in ("Host", "Origin"):
        assert await asyncio.to_thread(status_of, url, header) in (403, 421)
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0
    assert "Traceback" not in process.stderr.read()


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
