"""The examples, each run as a user runs it: real processes, real sockets, real deaths."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from mpzmq import ComputerEngineWorker, keys
from mpzmq.testing import ContainerProcess
from tests.support.commands import default_signals
from tests.support.pytests import LEAN
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SECONDS = scaled(50.0)


def command(name: str, *args: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *args]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def run(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, *args), capture_output=True, text=True, timeout=SECONDS, env=environment(), check=False
    )


def run_code(script: str) -> subprocess.CompletedProcess[str]:
    """Code that imports an example, and changes something before it runs it."""
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=EXAMPLES,
        env=environment(),
        check=False,
    )


@contextlib.contextmanager
def started(name: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """An example that goes on by itself; killed at the end if it still runs."""
    with subprocess.Popen(
        command(name, *args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=default_signals,
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
    names = {path.name for path in EXAMPLES.glob("*.py")}
    tested = {"arrays.py", "fastapi_app.py", "fan_out.py", "functions.py", "notebook.py", "state.py"}
    tested |= {"chat.py", "middleware.py", "progress.py", "stream_logs.py", "typed_shop.py", "upload.py", "watched.py"}
    tested |= {"conform_container.py", "conform_engine.py"}  # by tests/conformance/test_judge.py
    assert names == tested | {
        "echo_server.py",
        "hello_client.py",
        "reconnect.py",
        "replicas.py",
        "rollout.py",
        "fleet_dask.py",
        "join.py",
    }
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"(./{name})" in readme for name in names)


WITH_HELP = (
    "arrays conform_container conform_engine echo_server fan_out hello_client"
    " reconnect replicas rollout stream_logs upload"
)


@pytest.mark.parametrize("name", WITH_HELP.split())
def test_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(EXAMPLES / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [path, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(path, run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage:")


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


def test_middleware() -> None:
    result = run("middleware.py")
    assert (result.returncode, result.stdout.splitlines()) == (
        0,
        [
            "  transfer: quick, ok",
            "blue: ada has 70 left",
            "  transfer: quick, ValueError",
            "declined: ada has 70; executed YES",
            "  transfer: quick, NotPermitted",
            "NotPermitted; executed NO",
            "accounts: {'ada': 70, 'bob': 50}",
            "  transfer: quick, ok",
            "nobody: ada has 0 left",
            "accounts: {'ada': 70, 'bob': 50}",
            *["  transfer: quick, ok"] * 2,
            "  transfer: quick, Overloaded",
            "too many: again in a while",
        ],
    ), result.stderr


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
        "import sys; sys.argv[1:] = ['--kills', '3'];"  # at one of them alone it may be that nothing had begun to run
        "import reconnect, mpzmq;"
        "lie = property(lambda error: mpzmq.Executed.NO, lambda error, truth: None);"
        "mpzmq.ConnectionLost.executed = mpzmq.RequestTimeout.executed = lie;"
        "sys.exit(reconnect.main())"
    )
    result = run_code(script)
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


def test_rollout() -> None:
    result = run("rollout.py", "--callers", "8")
    told = f"{result.stdout}\n{result.stderr}"
    assert result.returncode == 0, told
    assert result.stderr == "", told
    restarts = re.findall(r"^(\w+): process (\d+) ended after .*; process (\d+) ALIVE", result.stdout, re.M)
    assert [restart[0] for restart in restarts] == ["red", "green", "blue"], told
    rows = re.findall(r"^(red|green|blue) +(\d+) +(\d+) +(\d+) +(\d+\.\d\d) s$", result.stdout, re.M)
    assert [row[:2] for row in rows] == [("red", "1"), ("green", "1"), ("blue", "1")], told
    for _, _, answered, carried_over, pause in rows:
        assert int(answered) > int(carried_over) > 0 < float(pause), told
    assert result.stdout.endswith("every call was answered, and every one ran exactly once\n")


def test_replicas() -> None:
    result = run("replicas.py", "--calls", "100", "--callers", "10")
    told = f"{result.stdout}\n{result.stderr}"
    assert (result.returncode, result.stderr) == (0, ""), told
    parts = re.findall(r"^(.+?)  +red +(\d+) %  green +(\d+) %  blue +(\d+) %   failed (\d+)$", result.stdout, re.M)
    assert [part[0] for part in parts] == ["all are well", "red is slow", "green is restarted", "blue is killed"], told
    assert [part[4] for part in parts[:3]] == ["0", "0", "0"], told
    found = re.search(r"^(\d+) of (\d+) calls answered, (\d+) lost with blue, none ran twice$", result.stdout, re.M)
    assert found is not None, told
    answered, issued, lost = map(int, found.groups())
    assert answered + lost == issued >= 400 and lost <= 10, told


def test_fleet_on_dask() -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    result = run("fleet_dask.py")
    told = f"{result.stdout}\n{result.stderr}"
    assert (result.returncode, result.stderr) == (0, ""), told
    asked = [("spam", 1), ("egg", 1), ("spam", 2), ("spam", 3)]
    counted = [f"{word}: asked {times} times in another process" for word, times in asked]
    assert result.stdout.splitlines() == ["2 containers serve", *counted, "a task of Dask: 6"], told


def test_join() -> None:
    result = run("join.py")
    told = f"{result.stdout}\n{result.stderr}"
    assert (result.returncode, result.stderr) == (0, ""), told
    assert result.stdout.splitlines() == [
        "2 containers have joined",
        "144, from the one with gpu=1: True",
        "49, though one was killed",
        "2 came, one left: it has not come back in time (rejoin_within)",
    ], told


def test_rollout_finds_what_a_kill_loses() -> None:
    result = run("rollout.py", "--callers", "8", "--kill")
    assert result.returncode == 1, f"{result.stdout}\n{result.stderr}"
    assert re.search(r"^red: process \d+ ended with exit code -9$", result.stderr, re.M), result.stderr
    assert re.search(r"^red: request .* failed, and ran: ConnectionLost", result.stderr, re.M), result.stderr
    assert "things are not as promised" in result.stderr


def test_rollout_finds_what_runs_twice() -> None:
    """Its verdict is worth something: requests that are marked as if they might run twice do, in a successor."""
    script = (
        "import sys; sys.argv[1:] = ['--callers', '8', '--kill'];"
        "import rollout;"
        "service = rollout.ComputerEngineWorker.service;"
        "twice = lambda *args, **options: service(*args, **options | {'idempotent': True});"
        "rollout.ComputerEngineWorker.service = twice;"
        "sys.exit(rollout.main())"
    )
    result = run_code(script)
    assert result.returncode == 1, f"{result.stdout}\n{result.stderr}"
    assert re.search(r"^red: request .* ran 2 times$", result.stderr, re.M), result.stderr
    assert " failed, and " not in result.stderr


# Functions, states, many containers


def lines_of(name: str, *args: str, raised: int = 0) -> list[str]:
    """What an example prints; its log may tell of so many handlers that raised."""
    result = run(name, *args)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("Traceback") == len(re.findall(r"^request .* raised$", result.stderr, re.M)) == raised
    return result.stdout.splitlines()


def test_functions() -> None:
    lines = lines_of("functions.py", raised=1)
    assert lines[:7] == [
        "add: 3 11",
        "add by name: 2",
        "patient: 10 s left of the caller's time",
        "blocking_code: done in a thread",
        "pay: 70",
        "pay: declined, code insufficient_funds, data {'balance': 100}, executed YES",
        "pay: refused, executed NO",
    ]
    assert "did you mean 'add'?" in lines[7]
    assert lines[8].endswith("it is add(a: int, b: int = 10) -> int")
    assert [line.split("(")[0].strip() for line in lines[9:]] == ["add", "patient", "blocking_code", "pay"]


def test_watched() -> None:
    assert lines_of("watched.py", raised=1) == [
        "ready: ok",
        "divide 9 replied, 1 failed",
        "calculator ALIVE {'RemoteError': 1}",
    ]


def test_typed_shop() -> None:
    assert lines_of("typed_shop.py") == [
        "on the shelf: 2",
        "found: [Item(name='pen', price=Decimal('1.50'), size=<Size.SMALL: 'small'>)]",
        "receipt: Receipt(total=Decimal('202.80'), ready=datetime.date(2026, 2, 28))",
        "executed: NO; order.items[0].price: expected Decimal, got 'much'",
    ]


def test_progress() -> None:
    assert lines_of("progress.py") == [
        "kitchen is at 50%",
        "kitchen is at 100%",
        "a cake",
        "kitchen is at 50%",
        "no cake: 0 of 100 g butter",
        "the engine does not look for guests any more",
        "nobody came, executed YES",
    ]


def test_state() -> None:
    lines = lines_of("state.py")
    assert lines.pop(1).endswith("3 pages are in the press")
    assert lines == [
        "status: RUNNING",
        "status: STOP",
        "ContainerStopped, executed NO; it is still there: STOP",
        "status: RUNNING",
        "load: 1",
        "event: STOP",
        "event: RUNNING",
    ]


def test_fan_out() -> None:
    *answers, summary = lines_of("fan_out.py", "--timeout", "0.5", raised=1)
    # At the deadline both sides act; the container's word may come first.
    assert sorted(answers) == [
        "node-0: 0",
        "node-1: RemoteError, executed YES",
        f"node-2: RequestTimeout, executed {'YES' if 'node-2: RequestTimeout, executed YES' in answers else 'UNKNOWN'}",
        "node-3: 30",
        "node-4: 40",
        "node-5: RequestTimeout, executed NO",
    ]
    assert summary == "1 RemoteError, 2 RequestTimeout, 3 answered"


# Streams, uploads, channels


def test_stream_logs() -> None:
    lines = lines_of("stream_logs.py", "--lines", "8")
    assert lines[4] == "-- the connection is cut"
    assert lines[-1] == "-- the function has ended; the link came back 1 time(s)"
    assert [line for line in lines if not line.startswith("--")] == [
        *(f"line {n}" for n in range(7)),
        "line 7 is enough",
    ]


def test_stream_logs_finds_a_line_that_is_lost() -> None:
    script = (
        "import sys, asyncio, stream_logs;"
        "read = stream_logs.read;\n"
        "async def forgetful(*args): return (await read(*args))[1:]\n"
        "stream_logs.read = forgetful;"
        "sys.exit(asyncio.run(stream_logs.main(4)))"
    )
    result = run_code(script)
    assert result.returncode == 1, f"{result.stdout}\n{result.stderr}"
    assert one_line(result.stderr).startswith("lines are missing, or came twice: ['line 1'")


def test_upload(tmp_path: Path) -> None:
    assert lines_of("upload.py") == ["made-up.bin: 8000000 bytes", "the container has hashed the same"]
    (tmp_path / "empty").touch()
    assert lines_of("upload.py", str(tmp_path / "empty"))[0] == "empty: 0 bytes"


def test_chat() -> None:
    *turns, many, hello, told = lines_of("chat.py")
    assert turns == ["< hello Ada", "> one", "< ONE", "> two", "< TWO", "< you said 2 things"]
    assert many == "hello Grace: 10000 words came back, and at last 'you said 5000 things'"
    assert hello == "< hello Alan"
    assert re.fullmatch(r"ConnectionClosed: the channel of 'chat' .* takes no more: its handler has ended", told)


def test_arrays() -> None:
    lines = lines_of("arrays.py", "--megabytes", "16")
    for what in ("sent", "received"):
        quarters = [line for line in lines if line.startswith(what)]
        assert quarters == sorted(quarters, key=lambda line: int(line.split()[1]))
        assert quarters[-1] == f"{what} 100 %" and len(quarters) > 2
    assert lines[-2:] == ["float64 (2048, 1024), right: True", "small calls that passed it: some"]


def test_arrays_without_numpy() -> None:
    result = run_code("import sys; sys.modules['numpy'] = None; import arrays")
    assert result.returncode == 1
    assert one_line(result.stderr) == "this example needs numpy: install the extra, pip install -e '.[numpy]'"


def test_notebook() -> None:
    lines = lines_of("notebook.py")
    assert lines[-3:] == ["3", "RequestTimeout", "42"]


def run_tests_of(name: str, tmp_path: Path, seconds: float = SECONDS) -> str:
    """What pytest says of the tests of an example."""
    plugin = [] if entry_points(group="pytest11", name="mpzmq") else ["-p", "mpzmq.testing.plugin"]
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *LEAN, "-p", "no:cacheprovider", "-q", *plugin, str(folder)],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=folder,
        env=environment(),
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_pytest_example(tmp_path: Path) -> None:
    assert "2 passed" in run_tests_of("pytest_example", tmp_path)


@pytest.mark.timeout(scaled(120.0))  # eleven processes are started, which takes a busy machine its time
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of this host")
def test_jobs(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    assert "15 passed" in run_tests_of("jobs", tmp_path, scaled(100.0))


# The web application, through its test client


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("fastapi_app")


def test_fastapi_app(application: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    with ContainerProcess("functions:server", folder=EXAMPLES) as process:
        monkeypatch.setenv("CONTAINER", process.endpoint)
        with TestClient(application.app) as client:
            assert client.post("/call/add", json=[1, 2]).json() == 3
            assert client.get("/health").json() == {"link": "ALIVE", "status": "RUNNING"}
            for function, arguments, code, error, executed in (
                ("add", [], 422, "InvalidArguments", "NO"),
                ("nothing", [], 503, "Unsupported", "NO"),
                ("pay", [500], 502, "RemoteError", "YES"),
                ("patient", [60], 504, "RequestTimeout", "YES|UNKNOWN"),  # whose word comes first
            ):
                answer = client.post(f"/call/{function}", json=arguments)
                assert answer.status_code == code
                told = answer.json()
                assert told["error"] == error
                assert told["executed"] in executed.split("|")


@pytest.mark.parametrize("behind", [False, True], ids=["bare", "behind BaseHTTPMiddleware"])
def test_a_call_ends_when_its_http_client_goes(
    application: ModuleType, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    from starlette.middleware.base import BaseHTTPMiddleware

    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app = application.app
    served = BaseHTTPMiddleware(app, dispatch=pass_on) if behind else app
    body = [{"type": "http.request", "body": b"[60]"}]

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await until(lambda: app.state.container.statistics().in_flight)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        """Nobody reads it."""

    scope = {
        "type": "http", "method": "POST", "path": "/call/patient", "query_string": b"", "http_version": "1.1",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"4")],
    }  # fmt: skip

    async def hang_up() -> None:
        async with app.router.lifespan_context(app):
            await served(scope, receive, send)
            counted = app.state.container.statistics()
            assert (counted.issued, counted.cancelled, counted.in_flight) == (1, 1, 0)

    with ContainerProcess("functions:server", folder=EXAMPLES) as process:
        monkeypatch.setenv("CONTAINER", process.endpoint)
        asyncio.run(hang_up())


def test_fastapi_app_without_its_container(application: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CONTAINER", f"127.0.0.1:{reserved.getsockname()[1]}")
        with TestClient(application.app) as client:
            health = client.get("/health")
            assert health.status_code == 503
            assert health.json()["detail"] in ("the link is CONNECTING", "the link is DOWN")
            answer = client.post("/echo", json={"hello": 1})
            assert (answer.status_code, answer.json()["executed"]) == (504, "NO")


# Keys


def test_keys_are_replaced_while_calls_go_on() -> None:
    result = run("secure/rotation.py")
    assert result.returncode == 0, result.stderr
    assert "the old one is refused" in result.stdout
    assert re.search(r"^[1-9]\d+ calls were answered, 0 failed$", result.stdout, re.M)


def test_an_engine_with_keys(tmp_path: Path) -> None:
    pairs = {name: keys.generate() for name in ("container", "engine")}
    for name, pair in pairs.items():
        keys.save(pair, tmp_path / f"{name}.key")
    (tmp_path / "allowed").mkdir()
    shutil.copy(tmp_path / "engine.pub", tmp_path / "allowed")
    env = {"SECURE": str(tmp_path)}
    with ContainerProcess("container:server", folder=EXAMPLES / "secure", env=env) as process:
        command = [sys.executable, str(EXAMPLES / "secure" / "engine.py"), process.endpoint]
        asked = subprocess.run(
            command, env={**os.environ, **env}, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert (asked.stdout, asked.stderr) == ("the container knows this engine as engine\n", "")
