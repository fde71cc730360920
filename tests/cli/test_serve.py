"""``mpzmq serve`` and ``mpzmq reply``: real processes, real signals, and every reason not to serve."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import RemoteError, RequestError, blocking
from mpzmq.cli import serve
from tests.support.commands import SECONDS, SERVER, children, environment, is_alive, survivors
from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]
    Capture = pytest.CaptureFixture[str]

LOCAL = "tcp://127.0.0.1:0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "desk.py").write_text(SERVER)
    return tmp_path


def endpoint_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    endpoint = process.stdout.readline().strip()
    assert endpoint, process.communicate()
    return endpoint


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SECONDS)
    assert "Traceback" not in err
    return process.returncode, out, err


FIRST_PROCESS = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")


as_first_process = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*FIRST_PROCESS, "true"], check=False).returncode != 0,
    reason="namespaces of processes are not allowed here",
)


@as_first_process
def test_process_1_is_ended_while_it_imports(tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    command = [*FIRST_PROCESS, sys.executable, "-m", "mpzmq", "serve", "desk:server", "--app-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as it:
        try:
            assert it.stdout is not None
            assert it.stdout.readline() == "importing\n"
            (first,) = children(it.pid, 1)
            os.kill(first, signal.SIGTERM)
            assert ended(it) == (143, "", "")
        finally:
            it.kill()


FOSTERING = """
import subprocess, sys
from mpzmq import ContainerServer

server = ContainerServer()

@server.function
def leave_an_orphan():
    return subprocess.run(["sh", "-c", "sleep 0.1 & exit 7"]).returncode
"""


@as_first_process
@pytest.mark.parametrize("command", [("serve", "desk:server", "--bind", LOCAL), ("up", "desk:server", "-n", "1")])
def test_process_1_reaps_who_has_lost_his_parent(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "desk.py").write_text(FOSTERING)
    whole = [*FIRST_PROCESS, sys.executable, "-m", "mpzmq", *command, "--app-dir", str(tmp_path)]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as it:
        try:
            endpoint = endpoint_of(it)
            (first,) = children(it.pid, 1)
            before = children(first, 1)
            with blocking.connect(endpoint) as handle:
                # What the application itself waits for is left to it.
                assert [handle.call("leave_an_orphan") for _ in range(3)] == [7, 7, 7]
            asyncio.run(until(lambda: children(first, 1) == before))
            os.kill(first, signal.SIGTERM)
            assert ended(it)[0] == 0
        finally:
            it.kill()


@as_first_process
def test_ctrl_c_at_the_terminal_of_process_1_is_one_signal(folder: Path) -> None:
    command = [*FIRST_PROCESS, sys.executable, "-m", "mpzmq", "serve", "desk:server", "--app-dir", str(folder)]
    pid, terminal = pty.fork()
    if not pid:
        try:
            os.execvpe(command[0], command, environment())
        finally:
            os._exit(1)
    said = b""
    while not (found := re.search(rb"^(tcp://\S+)\r\n", said, re.MULTILINE)):
        said += os.read(terminal, 4096)
    answers: list[Any] = []
    with blocking.connect(found[1].decode()) as handle:
        thread = threading.Thread(target=lambda: answers.append(handle.call("slow", 0.3)))
        thread.start()
        while handle.call("running") < 1:
            pass
        os.write(terminal, b"\x03")
        thread.join(SECONDS)
    assert answers == [0.3]
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def test_a_drain_ends_what_runs(start: Start, folder: Path) -> None:
    process = start("serve", "desk:server", "--app-dir", str(folder), "--bind", LOCAL, "--bind", f"ipc://{folder}/s")
    endpoint = endpoint_of(process)
    assert endpoint_of(process) == f"ipc://{folder}/s"
    answers: list[Any] = []
    with blocking.connect(f"ipc://{folder}/s") as handle, blocking.connect(endpoint) as other:
        assert other.call("echo", "both") == "both"
        thread = threading.Thread(target=lambda: answers.append(handle.call("slow", 0.3)))
        thread.start()
        while other.call("running") < 1:
            pass
        process.send_signal(signal.SIGTERM)
        thread.join(SECONDS)
    assert answers == [0.3]
    assert ended(process)[0] == 0


def test_the_second_signal_ends_it_at_once(start: Start, folder: Path) -> None:
    process = start("serve", "desk:server", "--app-dir", str(folder), "--drain-timeout", "1000")
    with blocking.connect(endpoint_of(process)) as handle:

        def call() -> None:
            with contextlib.suppress(RequestError):
                handle.call("slow", 1000)

        thread = threading.Thread(target=call)
        thread.start()
        while handle.call("running") < 1:
            pass
        process.send_signal(signal.SIGINT)
        while str(handle.state) != "DRAINING":
            pass
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)
        thread.join(SECONDS)
    assert code == 0
    assert "closing" in err


def test_its_variables(start: Start, folder: Path) -> None:
    process = start(
        "serve",
        "desk:server",
        MPZMQ_BIND=f"{LOCAL} ipc://{folder}/variables",
        MPZMQ_APP_DIR=str(folder),
        MPZMQ_DRAIN_TIMEOUT="1000",
        MPZMQ_LOG_LEVEL="error",
        MPZMQ_LOOP="asyncio",
        MPZMQ_INSECURE="1",
    )
    assert endpoint_of(process).startswith("tcp://127.0.0.1:")
    assert endpoint_of(process) == f"ipc://{folder}/variables"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "", "")


def refused(
    capsys: Capture, spec: str, endpoint: str = LOCAL, folder: Path | str = ".", **options: Any
) -> tuple[int, str]:
    settings: dict[str, Any] = {
        "insecure": False,
        "drain_timeout": 1.0,
        "log_level": "error",
        "loop": "asyncio",
        "as_json": False,
    } | options
    code = serve.serve(spec, [endpoint], folder=str(folder), **settings)
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert told.err.startswith("mpzmq serve: ")
    return code, told.err


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("desk", "write MODULE:SERVER"),
        ("desk:", "write MODULE:SERVER"),
        ("desk.py:server", "write desk:server"),
        ("src/desk.py", "write desk:server with --app-dir src"),
        ("dsek:server", "there is no module 'dsek'"),
        ("dsek.more:server", "there is no module 'dsek'"),
        ("desk:sevrer", "did you mean 'server'?"),
        ("desk:cancelled", "of type list: it has to be a ContainerServer(); there is desk:server"),
        ("desk:ContainerServer", "but the class itself"),
        ("raising:server", "cannot be imported: ValueError: of its own ("),
        ("missing:server", "cannot be imported: ModuleNotFoundError: No module named 'nobody'"),
        ("unfinished:server", "cannot be imported: SyntaxError: '(' was never closed ("),
        ("leaving:server", "cannot be imported: SystemExit: 3 ("),
        ("running:server", "put its server.run() below if __name__ == '__main__':"),
    ],
)
def test_no_server(capsys: Capture, folder: Path, monkeypatch: pytest.MonkeyPatch, spec: str, told: str) -> None:
    monkeypatch.setattr("sys.path", ["", *map(str, sys.path)])
    (folder / "raising.py").write_text("raise ValueError('of its own')\n")
    (folder / "missing.py").write_text("import nobody\n")
    (folder / "unfinished.py").write_text("x = (\n")
    (folder / "running.py").write_text(
        "from mpzmq import ContainerServer\nserver = ContainerServer()\nserver.run('tcp://127.0.0.1:0')\n"
    )
    (folder / "leaving.py").write_text("raise SystemExit(3)\n")
    monkeypatch.delitem(sys.modules, "desk", raising=False)
    code, err = refused(capsys, spec, folder=folder)
    assert code == 66
    assert told in err


def test_no_endpoint(capsys: Capture, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "desk", raising=False)
    assert refused(capsys, "desk:server", "nowhere", folder)[0] == 64
    code, err = refused(capsys, "desk:server", "0.0.0.0:0", folder)
    assert code == 77
    assert "--insecure" in err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, err = refused(capsys, "desk:server", f"127.0.0.1:{taken.getsockname()[1]}", folder)
    assert code == 71
    assert "in use" in err
    assert refused(capsys, "desk:server", f"ipc://{folder}/no/such/folder", folder)[0] == 71


def test_no_admin_endpoint(capsys: Capture, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "desk", raising=False)
    assert refused(capsys, "desk:server", folder=folder, admin="nowhere")[0] == 64
    code, err = refused(capsys, "desk:server", folder=folder, admin="ipc:///tmp/admin")
    assert code == 64 and "HOST:PORT" in err
    code, err = refused(capsys, "desk:server", folder=folder, admin="0.0.0.0:0")
    assert code == 77 and "read what runs here: pass --insecure" in err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, err = refused(capsys, "desk:server", folder=folder, admin=f"127.0.0.1:{taken.getsockname()[1]}")
    assert code == 71 and "admin endpoint" in err and "in use; 'ss -ltnp'" in err


@pytest.mark.parametrize("way", ["option", "variable"])
def test_it_can_be_watched(start: Start, folder: Path, way: str) -> None:
    command = ["serve", "desk:server", "--app-dir", str(folder)]
    admin = f"127.0.0.1:{free_port()}"
    process = start(*command, "--admin", admin) if way == "option" else start(*command, MPZMQ_ADMIN=admin)
    assert endpoint_of(process).startswith("tcp://")
    with urllib.request.urlopen(f"http://{admin}/readyz", timeout=SECONDS) as reply:
        assert reply.read() == b"ok\n"
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 0 and f"can be watched at http://{admin}/" in err


def test_a_lifespan_that_fails(capsys: Capture, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "fragile.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "from mpzmq import ContainerServer\n"
        "@asynccontextmanager\n"
        "async def lifespan(server):\n"
        "    raise LookupError('no database')\n"
        "    yield\n"
        "server = ContainerServer(lifespan=lifespan)\n"
    )
    monkeypatch.setattr("sys.path", [*sys.path])
    code, err = refused(capsys, "fragile:server", folder=folder)
    assert code == 1
    assert "LookupError: no database (--log-level debug shows where)" in err


def test_a_closed_stdout(folder: Path) -> None:
    script = f"{sys.executable} -m mpzmq serve desk:server --app-dir {folder} | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", f"sleep 0; {script}"], capture_output=True, timeout=SECONDS, env=environment()
    )
    assert b"Traceback" not in result.stderr
    assert result.returncode == 141


def test_reply(start: Start) -> None:
    process = start("reply", "--bind", LOCAL, "--echo")
    with blocking.connect(endpoint_of(process)) as handle:
        assert handle.request({"a": 1}) == {"a": 1}
        assert handle.call("echo", b"x") == b"x"
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def test_reply_that_fails(start: Start) -> None:
    process = start("reply", "--fail-rate", "1", "--sleep", "0.01", "--json")
    with (
        blocking.connect(json.loads(endpoint_of(process))["endpoint"]) as handle,
        pytest.raises(RemoteError, match="failed on purpose") as failed,
    ):
        handle.request(1)
    assert failed.value.code == "fail_rate"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ((), "mpzmq serve: the folder '.' is not to be found any more: No such file or directory\n"),
        (("--reload",), "mpzmq serve: FileNotFoundError: [Errno 2] No such file or directory\n"),
    ],
)
def test_a_folder_that_was_removed_is_not_taken_for_a_stdout_that_is_full(
    tmp_path: Path, option: tuple[str, ...], told: str
) -> None:
    command = [sys.executable, "-m", "mpzmq", "serve", "desk:server", *option]
    it = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *command],
        cwd=tmp_path, capture_output=True, text=True, env=environment(), timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (it.stdout, it.stderr) == ("", told)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="its child is found in /proc")
def test_reload(start: Start, folder: Path) -> None:
    process = start("serve", "desk:server", "--app-dir", str(folder), "--reload", "--log-level", "error")
    endpoint = endpoint_of(process)
    with blocking.connect(endpoint) as handle:
        assert handle.call("echo", 1) == 1
        # Broken first, then repaired: it starts again on the port it had.
        (folder / "desk.py").write_text("x = (\n")
        assert process.stderr is not None
        for line in process.stderr:
            if "SyntaxError" in line:
                break
        (folder / "desk.py").write_text(
            SERVER.replace("def echo(data):\n    return data", "def echo(data):\n    return -data")
        )
        assert endpoint_of(process) == endpoint
        assert handle.call("echo", 1, idempotent=True) == -1
        pids = children(process.pid, 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert survivors(pids) == []
    assert not is_alive(process.pid)
