"""The examples, each run as a user runs it: real processes, real sockets, real deaths."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from mpzmq import ComputerEngineWorker

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SECONDS = 50


def command(name: str, *args: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *args]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def run(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, *args), capture_output=True, text=True, timeout=SECONDS, env=environment(), check=False
    )


@contextlib.contextmanager
def started(name: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """An example that goes on by itself; killed at the end if it still runs."""
    with subprocess.Popen(
        command(name, *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def address_of(server: subprocess.Popen[str]) -> str:
    """What the echo server prints of itself: it never has port 0."""
    found = re.fullmatch(r"echo server on (127\.0\.0\.1:[1-9]\d*)", first_line(server))
    assert found is not None
    return found[1]


def one_line(text: str) -> str:
    """The only line of a text."""
    (line,) = text.splitlines()
    return line


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"echo_server.py", "hello_client.py", "reconnect.py"}


@pytest.mark.parametrize("name", ["echo_server.py", "hello_client.py", "reconnect.py"])
def test_help(name: str) -> None:
    result = run(name, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage:")


def test_hello() -> None:
    with started("echo_server.py", "--port", "0") as server:
        address = address_of(server)
        greeted = run("hello_client.py", address)
        assert (greeted.returncode, greeted.stdout, greeted.stderr) == (0, "Hello from client\n", "")
        assert run("hello_client.py", address, "good day").stdout == "good day\n"
        server.send_signal(signal.SIGTERM)
        assert server.wait(SECONDS) == 0
        refused = run("hello_client.py", address)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert one_line(refused.stderr).startswith(f"ConnectRefused: cannot connect to container '{address}'")
        assert server.communicate() == ("", "")


def test_hello_to_no_address() -> None:
    result = run("hello_client.py", "nowhere")
    assert (result.returncode, result.stdout) == (1, "")
    assert one_line(result.stderr).startswith("ValueError: 'nowhere' has no port")


async def test_echo_server_drains_on_sigterm() -> None:
    with started("echo_server.py", "--port", "0") as server:
        address = await asyncio.to_thread(address_of, server)
        async with ComputerEngineWorker() as worker:
            container = await worker.connect(uuid4(), address)
            call = asyncio.create_task(container.call("later", "late", seconds=0.5))
            await asyncio.sleep(0)
            # Requests are read in the order in which they were issued: when this is answered, `later` is there too.
            assert await container.request("soon") == "soon"
            server.send_signal(signal.SIGTERM)
            assert await call == "late"
        assert await asyncio.to_thread(server.wait, SECONDS) == 0
        assert server.communicate() == ("", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_echo_server_ends_with_zero(number: signal.Signals) -> None:
    with started("echo_server.py", "--port", "0") as server:
        address_of(server)
        server.send_signal(number)
        assert server.wait(SECONDS) == 0


def test_echo_server_tells_what_it_cannot_bind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        in_use = run("echo_server.py", "--port", str(taken.getsockname()[1]))
    assert (in_use.returncode, in_use.stdout) == (1, "")
    assert one_line(in_use.stderr).startswith("OSError: ")
    exposed = run("echo_server.py", "--host", "0.0.0.0", "--port", "0")
    assert (exposed.returncode, exposed.stdout) == (1, "")
    assert one_line(exposed.stderr).startswith("InsecureBind: ")


def test_reconnect() -> None:
    result = run("reconnect.py", "--kills", "2", "--seed", "7")
    told = f"{result.stdout}\n{result.stderr}"
    assert result.returncode == 0, told
    assert result.stderr == "", told
    kills = re.findall(r"^kill \d: (\w+), process (\d+): DOWN .* again as process (\d+): ALIVE", result.stdout, re.M)
    assert len(kills) == 2, told
    rows = re.findall(r"^(red|green|blue) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", result.stdout, re.M)
    assert [row[0] for row in rows] == ["red", "green", "blue"], told
    for _, killed, issued, answered, failed, reconnects in (map(str, row) for row in rows):
        assert int(issued) == int(answered) + int(failed), told
        assert int(answered) > 0, told
        assert int(reconnects) == int(killed), told
    assert sum(int(row[1]) for row in rows) == 2
    assert result.stdout.endswith("every request has ended, and every error told the truth\n")


def test_reconnect_finds_a_lie() -> None:
    """Its verdict is worth something: an error that says NO of a request that ran is told, and the exit code is 1."""
    script = (
        "import sys; sys.argv[1:] = ['--kills', '1'];"
        "import reconnect, mpzmq;"
        "mpzmq.ConnectionLost.executed = mpzmq.Executed.NO;"
        "sys.exit(reconnect.main())"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=EXAMPLES,
        env=environment(),
        check=False,
    )
    assert result.returncode == 1, f"{result.stdout}\n{result.stderr}"
    assert re.search(r"request .* ran, but said NO", result.stderr), result.stderr
    assert "things are not as promised" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_container_outlives_reconnect(number: signal.Signals) -> None:
    with started("reconnect.py", "--kills", "1000") as example:
        assert example.stdout is not None
        for line in example.stdout:
            if line.startswith("kill 1:"):
                break
        example.send_signal(number)
        # Its containers write to the same stderr, which ends when the last of them has.
        output, errors = example.communicate(timeout=SECONDS)
        assert example.returncode == (130 if number == signal.SIGINT else -number), f"{output}\n{errors}"
        assert "Traceback" not in errors
