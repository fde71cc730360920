"""``mpzmq doctor``: whatever listens on a port, the right step fails with the right advice."""

from __future__ import annotations

import contextlib
import http.server
import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import zmq

from mpzmq import Limits, Status, __version__, blocking, keys
from mpzmq.cli.build import build_name
from mpzmq.cli.doctor.command import STEPS, run
from mpzmq.cli.doctor.greeting import GREETING, Greeting, read_greeting, read_ready, recognise
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.records import LINK_TAG
from mpzmq.testing import ContainerProcess
from tests.support.commands import run as run_command
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = "from mpzmq import ContainerServer\nserver = ContainerServer(name='patient')\n"
QUICK = 0.3
"""Seconds for a step that has to run into its limit."""
PATIENT = scaled(10.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "patient.py").write_text(SERVER)
    return folder


@pytest.fixture
def container(folder: Path) -> Iterator[ContainerProcess]:
    with ContainerProcess("patient:server", folder=folder) as process:
        yield process


def examined(
    capsys: pytest.CaptureFixture[str],
    endpoint: str,
    timeout: float = PATIENT,
    security: tuple[str | None, str | None] = (None, None),
) -> tuple[int, dict[str, Any]]:
    """The exit code, and the step that failed; the last one if none did."""
    code = run(endpoint, timeout=timeout, security=security, as_json=True)
    document = json.loads(capsys.readouterr().out)
    steps = document["steps"]
    assert [step["name"] for step in steps] + document["not_reached"] == list(STEPS)
    assert all(step["ok"] for step in steps[:-1])
    assert document["ok"] is steps[-1]["ok"] is (code == 0)
    assert (document["exit_code"], document["endpoint"]) == (code, endpoint)
    assert (document["version"], document["build"]) == (__version__, build_name())
    assert bool(steps[-1]["advice"]) is (code != 0)
    return code, steps[-1]


@contextlib.contextmanager
def listening(kind: int, **options: Any) -> Iterator[str]:
    with zmq.Context() as context, context.socket(kind) as bound:
        for name, value in options.items():
            setattr(bound, name, value)
        bound.linger = 0
        yield f"127.0.0.1:{bound.bind_to_random_port('tcp://127.0.0.1')}"


@contextlib.contextmanager
def saying(banner: bytes | None) -> Iterator[str]:
    """A TCP server that says something, or hangs up (nothing), or is mute (None)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                held.append(connection)
                if banner is not None:
                    connection.sendall(banner)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join(PATIENT)
            for connection in held:
                connection.close()


def until_stopped(pid: int) -> None:
    """A signal takes effect a moment after it was sent."""
    deadline = time.monotonic() + PATIENT
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_healthy_container(capsys: pytest.CaptureFixture[str], container: ContainerProcess) -> None:
    code, step = examined(capsys, container.endpoint)
    assert (code, step["name"]) == (0, "PING")
    assert "status RUNNING" in step["text"]


def test_over_ipc(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/patient.sock"
    with ContainerProcess("patient:server", folder=folder, endpoint=endpoint):
        assert examined(capsys, endpoint)[0] == 0
    (tmp_path / "file").touch()
    for name, told in (("nowhere", "No such file"), ("file", "is not a socket")):
        code, step = examined(capsys, f"ipc://{tmp_path}/{name}")
        assert (code, step["name"]) == (2, "address")
        assert told in step["text"]


def test_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        code, step = examined(capsys, f"localhost:{reserved.getsockname()[1]}")
    assert (code, step["name"]) == (2, "TCP")
    assert "connection refused" in step["text"]
    assert "start the container" in step["advice"]


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, step = examined(capsys, "container.invalid:3010")
    assert (code, step["name"]) == (2, "name")
    assert "'container.invalid' is unknown" in step["text"]


def test_a_name_that_no_host_can_have(capsys: pytest.CaptureFixture[str]) -> None:
    code, step = examined(capsys, "x..y:3010")
    assert (code, step["name"]) == (2, "name")
    assert "'x..y' is unknown: it is not a host name: label " in step["text"]


def test_an_http_server(capsys: pytest.CaptureFixture[str]) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Not on the test's stderr."""

    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            code, step = examined(capsys, f"127.0.0.1:{server.server_port}", QUICK)
        finally:
            server.shutdown()
            thread.join(PATIENT)
    assert (code, step["name"]) == (2, "greeting")
    assert step["text"].startswith("an HTTP server listens there")


@pytest.mark.parametrize(
    ("banner", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server listens there"),
        (b"\x1b[31mred alert", "something that begins with '\\x1b[31mred alert'"),
        (b"", "ended without a word"),
    ],
)
def test_another_server(capsys: pytest.CaptureFixture[str], banner: bytes, told: str) -> None:
    with saying(banner) as endpoint:
        code, step = examined(capsys, endpoint)
    assert (code, step["name"]) == (2, "greeting")
    assert told in step["text"]


def test_a_mute_listener(capsys: pytest.CaptureFixture[str]) -> None:
    with saying(None) as endpoint:
        code, step = examined(capsys, endpoint, QUICK)
    assert (code, step["name"]) == (3, "greeting")
    assert f"sport = :{endpoint.partition(':')[2]}" in step["advice"]


@pytest.mark.parametrize(("kind", "name"), [(zmq.PUB, "PUB"), (zmq.REP, "REP")])
def test_another_socket(capsys: pytest.CaptureFixture[str], kind: int, name: str) -> None:
    with listening(kind) as endpoint:
        code, step = examined(capsys, endpoint)
    assert (code, step["name"]) == (2, "greeting")
    assert f"a {name} socket listens there" in step["text"]


def test_a_curve_server(capsys: pytest.CaptureFixture[str]) -> None:
    public, secret = zmq.curve_keypair()
    with listening(zmq.ROUTER, curve_server=1, curve_publickey=public, curve_secretkey=secret) as endpoint:
        code, step = examined(capsys, endpoint)
    assert (code, step["name"]) == (2, "greeting")
    assert "CURVE" in step["text"]


def test_another_key_than_that_of_the_container(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keys.save(keys.generate(), tmp_path / "engine.key")
    keys.save(keys.generate(), tmp_path / "other.key")
    public, secret = zmq.curve_keypair()
    with listening(zmq.ROUTER, curve_server=1, curve_publickey=public, curve_secretkey=secret) as endpoint:
        security = str(tmp_path / "engine.key"), str(tmp_path / "other.pub")
        code, step = examined(capsys, endpoint, security=security)
    assert (code, step["name"]) == (2, "HELLO")
    assert "its key is probably not" in step["text"] and "mpzmq keys show" in step["advice"]


def test_a_router_of_another_program(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(zmq.ROUTER) as endpoint:
        code, step = examined(capsys, endpoint, QUICK)
    assert (code, step["name"]) == (3, "HELLO")


@contextlib.contextmanager
def welcoming(record: list[Any]) -> Iterator[str]:
    """A ROUTER that answers the first message with a record of the link."""

    def serve(router: zmq.Socket[bytes]) -> None:
        if router.poll(round(1000 * PATIENT)):
            route, *_ = router.recv_multipart()
            router.send_multipart([route, LINK_TAG, Encoder(Limits()).pack(record)])

    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger = 0
        endpoint = f"127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
        thread = threading.Thread(target=serve, args=(router,))
        thread.start()
        try:
            yield endpoint
        finally:
            thread.join(PATIENT)


def test_a_welcome_that_is_not_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    record = wire.welcome(uuid4(), 1, False, Status.RUNNING, "odd", 2.0, Limits())
    record[7] = 0
    with welcoming(record) as endpoint:
        code, step = examined(capsys, endpoint)
    assert (code, step["name"]) == (2, "HELLO")
    assert "'interval' of WELCOME should be a finite number of seconds above 0, and is 0" in step["text"]


def test_a_stopped_container(capsys: pytest.CaptureFixture[str], container: ContainerProcess) -> None:
    with blocking.connect(container.endpoint) as handle:
        handle.set_state(Status.STOP)
    code, step = examined(capsys, container.endpoint)
    assert (code, step["name"]) == (4, "PING")
    assert step["advice"] == f"mpzmq state {container.endpoint} RUNNING"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="whether it has stopped is read in /proc")
def test_a_frozen_container(capsys: pytest.CaptureFixture[str], container: ContainerProcess) -> None:
    container.send_signal(signal.SIGSTOP)
    until_stopped(container.pid)
    code, step = examined(capsys, container.endpoint, QUICK)
    container.send_signal(signal.SIGCONT)
    assert (code, step["name"]) == (3, "greeting")
    assert "kill -CONT" in step["advice"]


def test_as_a_command(container: ContainerProcess) -> None:
    result = run_command("doctor", container.endpoint)
    assert (result.returncode, result.stderr) == (0, "")
    *lines, last = result.stdout.splitlines()
    assert last == f"mpzmq {__version__}, {build_name()}"
    assert [line.split()[1] for line in lines] == list(STEPS)
    assert all(line.startswith("✓ ") and line.endswith(" ms") for line in lines)
    assert "\x1b" not in result.stdout


def test_what_is_shown_of_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("container.invalid:3010", timeout=PATIENT, as_json=False) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("✗ name ")
    assert lines[1].startswith("  → check the spelling")
    assert lines[2:-1] == [f"- {name:<9} not reached" for name in STEPS[1:]]


def test_plain_marks_where_the_encoding_has_no_others() -> None:
    result = run_command("doctor", "container.invalid:3010", PYTHONIOENCODING="ascii")
    assert result.returncode == 2
    assert result.stdout.startswith("FAIL name ")


def test_a_malformed_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nowhere", timeout=PATIENT, as_json=False) == 64
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("mpzmq doctor: 'nowhere' has no port")
    assert len(told.err.splitlines()) == 1


# The bytes


def test_our_own_greeting() -> None:
    assert len(GREETING) == 64
    assert read_greeting(GREETING) == Greeting((3, 1), "NULL")


@pytest.mark.parametrize(
    "data", [b"", b"\xff", GREETING[:63], b"H" + GREETING[1:], GREETING[:10] + bytes([1]) + GREETING[11:]]
)
def test_no_greeting(data: bytes) -> None:
    assert read_greeting(data) is None


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER", "ROUTER"),
        (b"\x06\x00\x00\x00\x00\x00\x00\x00\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER", "ROUTER"),
        (b"\x04\x0c\x05ERROR\x05wrong", "ERROR wrong"),
        (b"\x04\x06\x05READY", None),
        (b"\x04\x1c\x05READY", None),
        (b"\x00\x05hello", None),
        (b"\x04\x00", None),
        (b"", None),
    ],
)
def test_ready(data: bytes, kind: str | None) -> None:
    assert read_ready(data) == kind


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"HTTP/1.1 400 Bad Request", "an HTTP server"),
        (b"<!doctype html>", "an HTTP server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "a TLS server"),
        (b"-ERR unknown command", "a Redis server"),
        (GREETING[:10] + b"\1", "an old ZeroMQ (ZMTP 1)"),
        (b"\n\xff", "something that begins with '\\n\\\\xff'"),
    ],
)
def test_a_banner(data: bytes, name: str) -> None:
    assert recognise(data) == name
