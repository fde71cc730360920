"""``mpzmq gateway``: a real process with real signals, and every reason not to serve."""

from __future__ import annotations

import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

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


def post(url: str, body: bytes, **headers: str) -> Any:
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    request = urllib.request.Request(url, body, given)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


def test_it_serves_until_a_signal(start: Any, desk: str) -> None:
    process = start("gateway", desk, "--allow", "add", "slow", "--port", "0", "--json", "--pass-header", "X-User")
    url = json.loads(process.stdout.readline())["url"]

    assert post(f"{url}/call/add", b"[1, 2]", X_User="Ada") == {"result": 3}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        post(f"{url}/call/echo", b"[1]")
    with pytest.raises(urllib.error.HTTPError, match="421"):
        post(f"{url}/call/add", b"[1]", Host="calc.example.com")
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), SECONDS) as client:
        head = b"POST /call/slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n"
        client.sendall(head + b"[0.3]")
        post(f"{url}/call/add", b"[1]")  # it has come by now
        process.send_signal(signal.SIGTERM)
        with client.makefile("rb") as answer:
            assert answer.read().endswith(b'{"result":0.3}')  # and then the connection ends

    assert (process.wait(SECONDS), process.stdout.read()) == (0, "")
    log = process.stderr.read()
    assert "LinkUp" in log and "ERROR" not in log


@pytest.mark.parametrize(("drain", "signals"), [("0.1", [signal.SIGINT]), ("600", [signal.SIGINT, signal.SIGTERM])])
def test_it_does_not_wait_for_ever(start: Any, desk: str, drain: str, signals: list[signal.Signals]) -> None:
    process = start("gateway", desk, "--allow", "slow", "--port", "0", "--drain-timeout", drain)
    url = process.stdout.readline().strip()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), SECONDS) as client:
        head = b"POST /call/slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"
        client.sendall(head + b"[60]")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            post(f"{url}/call/add", b"[1]")
        for number in signals:
            process.send_signal(number)
        assert process.wait(SECONDS) == 0
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["127.0.0.1:1"], 64, "--allow"),
        (["nowhere", "--allow", "add"], 64, "port"),
        (["127.0.0.1:1", "127.0.0.1:2", "--allow", "add"], 64, "with commas"),
        (["127.0.0.1:1", "--allow", "add", "--host", "0.0.0.0"], 77, "--insecure"),
        (["127.0.0.1:1", "--allow", "add", "--keys", "none"], 64, "--server-key"),
        (["127.0.0.1:1", "--allow", "add", "--host", "no such host"], 64, "host"),
    ],
)
def test_it_does_not_serve(args: list[str], code: int, words: str) -> None:
    result = called("gateway", *args, "--loop", "asyncio")  # uvloop keeps a pipe for good

    assert result.returncode == code, result.stderr
    assert words in result.stderr and not result.stdout


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = called("gateway", "127.0.0.1:1", "--allow", "add", "--port", port, "--loop", "asyncio")
    assert result.returncode == 71
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in result.stderr


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = called("gateway", "127.0.0.1:1", "--allow", "add")
    assert result.returncode == 69
    assert "mpzmq gateway needs uvicorn: install mpzmq-engine[gateway]" in result.stderr
