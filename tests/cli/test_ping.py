"""``mpzmq ping``: the exit codes on which probes rely, and a start that loads little."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import RequestError, Status, blocking
from mpzmq.cli.ping import main
from mpzmq.testing import ContainerProcess
from tests.support.commands import SECONDS, SERVER, environment, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]
    Capture = pytest.CaptureFixture[str]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[ContainerProcess]:
    (tmp_path / "desk.py").write_text(SERVER)
    with ContainerProcess("desk:server", folder=tmp_path) as process:
        yield process


def pinged(capsys: Capture, *args: str) -> tuple[int, dict[str, Any]]:
    code = main([*args, "--json"])
    told = capsys.readouterr()
    assert bool(told.err) is (code in (2, 3))
    document: dict[str, Any] = json.loads(told.out)
    assert document["exit_code"] == code
    return code, document


def test_serving(capsys: Capture, desk: ContainerProcess) -> None:
    code, told = pinged(capsys, desk.endpoint)
    assert (code, told["sent"], told["received"], told["status"]) == (0, 1, 1, "RUNNING")
    code, told = pinged(capsys, desk.endpoint, "-c", "5", "-i", "0.001")
    assert (code, told["sent"], told["received"]) == (0, 5, 5)
    figures = told["milliseconds"]
    assert 0 < figures["min"] <= figures["avg"] <= figures["max"]
    assert figures["min"] <= figures["p99"] <= figures["max"]

    assert main([desk.endpoint, "--count", "2", "--interval", "0.001"]) == 0
    first, second, summary = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{desk.endpoint}: seq=1 time=")
    assert second.endswith(" ms status=RUNNING")
    assert summary.startswith("2 sent, 2 received, min/avg/p99/max = ")


def test_stopped(capsys: Capture, desk: ContainerProcess) -> None:
    with blocking.connect(desk.endpoint) as handle:
        handle.set_state(Status.STOP)
    assert pinged(capsys, desk.endpoint)[0] == 4
    code, told = pinged(capsys, desk.endpoint, "--live")
    assert (code, told["status"]) == (0, "STOP")


def test_draining(capsys: Capture, desk: ContainerProcess) -> None:
    with blocking.connect(desk.endpoint) as handle:
        slow = handle.function("slow", timeout=60.0)

        def call() -> None:
            with contextlib.suppress(RequestError):
                slow(60)

        thread = threading.Thread(target=call)
        thread.start()
        while handle.call("running") < 1:
            pass
        desk.send_signal(signal.SIGTERM)
        while str(handle.state) != "DRAINING":
            pass
        assert pinged(capsys, desk.endpoint)[0] == 4
        assert pinged(capsys, desk.endpoint, "--live")[0] == 0
        desk.send_signal(signal.SIGTERM)
        thread.join(SECONDS)


def test_frozen(capsys: Capture, desk: ContainerProcess) -> None:
    desk.send_signal(signal.SIGSTOP)
    assert pinged(capsys, desk.endpoint, "--timeout", "0.3")[0] == 3
    assert main([desk.endpoint, "--timeout", "0.3", "--live"]) == 3
    assert "the connection was accepted, but nothing was said" in capsys.readouterr().err
    desk.send_signal(signal.SIGCONT)


def test_unreachable(capsys: Capture) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        code, told = pinged(capsys, f"127.0.0.1:{reserved.getsockname()[1]}")
    assert (code, told["sent"], told["status"]) == (2, 0, None)
    assert pinged(capsys, "container.invalid:3010")[0] == 2


def test_a_container_that_dies_and_comes_back(start: Start, desk: ContainerProcess) -> None:
    process = start("ping", desk.endpoint, "-c", "0", "-i", "0.02")
    assert process.stdout is not None
    assert process.stderr is not None
    assert "seq=1 " in process.stdout.readline()
    desk.kill()
    # One that was under way when it died may say something else.
    assert any("NotConnected" in line for line in process.stderr)
    desk.restart()
    for line in process.stdout:
        if "RUNNING" in line and int(line.partition("seq=")[2].split()[0]) > 2:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "min/avg/p99/max" in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "required: ENDPOINT"),
        (["127.0.0.1:1", "--nope"], "unrecognized arguments: --nope"),
        (["127.0.0.1:1", "-c", "x"], "'x' is not a whole number"),
        (["127.0.0.1:1", "--timeout", "0"], "'0' is not a number of seconds"),
        (["127.0.0.1:1", "-i", "nan"], "'nan' is not a number of seconds"),
        (["nowhere"], "'nowhere' has no port"),
    ],
)
def test_wrong_usage(capsys: Capture, args: list[str], told: str) -> None:
    assert main(args) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err.splitlines()[-1]


def test_help() -> None:
    told = run("ping", "-h")
    assert told.returncode == 0
    assert "2 unreachable, 3 timeout, 4 stopped or draining" in told.stdout


def test_a_closed_pipe(desk: ContainerProcess) -> None:
    script = f"{sys.executable} -m mpzmq ping {desk.endpoint} -c 0 -i 0.01 | head -c 1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, timeout=SECONDS, env=environment())
    assert (result.returncode, result.stderr) == (141, b"")


def test_it_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    """No click, no rich, no container: a probe is started every few seconds, and from slim images."""
    for name in ("click", "rich"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    source = (
        "import sys; sys.argv[1:] = ['ping', '127.0.0.1:1']; import mpzmq.cli; code = mpzmq.cli.main();"
        "heavy = ('click', 'rich', 'numpy', 'uvloop', 'mpzmq.blocking', 'mpzmq.container', 'mpzmq.testing');"
        "print(code, sorted(name for name in heavy if name in sys.modules))"
    )
    paths = os.pathsep.join((str(tmp_path), environment()["PYTHONPATH"]))
    result = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(PYTHONPATH=paths),
        check=False,
    )
    assert result.stdout == "2 []\n", result.stderr


def test_it_waits_for_a_container_that_comes_up(start: Start, desk: ContainerProcess) -> None:
    desk.kill()
    desk.wait()
    process = start("ping", desk.endpoint, "-c", "0", "-i", "0.02")
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(3):
        assert process.stderr.readline().startswith("mpzmq ping: ConnectRefused: ")
    desk.start()
    assert "seq=1 " in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 130


def test_so_many_are_tried_whatever_becomes_of_them(capsys: Capture) -> None:
    assert main(["127.0.0.1:1", "-c", "3", "-i", "0.001", "--json"]) == 2
    told = capsys.readouterr()
    assert told.err.count("ConnectRefused: ") == 3
    assert json.loads(told.out)["sent"] == 0
