"""What a command writes, and where: on narrow terminals, into closed streams, in encodings that lack half of it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from mpzmq import __version__, blocking
from mpzmq.cli.build import build_name
from mpzmq.cli.commands import mpzmq
from mpzmq.cli.layout import say_wrapped
from mpzmq.cli.output import OutputLost, say, say_json
from mpzmq.testing import ContainerProcess
from tests.support.commands import SECONDS, SERVER, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ODD = "é \U0001f600 \x9b31m \x7f "
STYLE = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("output")
    (folder / "desk.py").write_text(SERVER)
    with ContainerProcess("desk:server", folder=folder) as process:
        yield process.endpoint


def shell(line: str, **changes: str) -> tuple[int, str, str]:
    result = subprocess.run(
        ["bash", "-c", line.replace("mpzmq", f"{sys.executable} -m mpzmq", 1)],
        capture_output=True, timeout=SECONDS, env=environment(**changes), check=False,
    )  # fmt: skip
    return result.returncode, result.stdout.decode("utf-8", "strict"), result.stderr.decode()


def on_a_terminal(columns: int, *args: str) -> tuple[int, list[str]]:
    """Exit code, and the lines that a command has written to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "mpzmq", *args],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    told = b""
    try:
        while data := os.read(ours, 65536):
            told += data
    except OSError:  # Linux: EIO when the command has ended
        pass
    os.close(ours)
    return process.wait(SECONDS), STYLE.sub("", told.decode()).replace("\r", "").splitlines()


# Closed streams


@pytest.mark.parametrize("command", ["call {0} add 1", "state {0} STOP"])
def test_a_stdout_that_is_closed_is_told_before_anything_is_done(endpoint: str, command: str) -> None:
    code, out, err = shell(f"mpzmq {command.format(endpoint)} >&-")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"mpzmq (call|state): cannot write to stdout: it is closed\n", err)
    with blocking.connect(endpoint) as handle:
        assert str(handle.get_state()) == "RUNNING"


def test_so_for_every_command_that_prints(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = (
        f"call {endpoint} add 1", f"call {endpoint} count 1", f"describe {endpoint}", f"describe {endpoint} --json",
        f"state {endpoint}", f"doctor {endpoint}", f"doctor {endpoint} --json", "demo", f"keys new {tmp_path}/mine",
        f"keys show {tmp_path}",
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        codes = [mpzmq.main(command.split(), standalone_mode=False) for command in commands]
    assert codes == [1] * len(commands)
    assert capsys.readouterr().err.count(": cannot write to stdout: it is closed\n") == len(commands)
    assert list(tmp_path.iterdir()) == []


def test_a_probe_needs_no_stdout(endpoint: str) -> None:
    assert shell(f"mpzmq ping {endpoint} >&-") == (0, "", "")
    assert shell(f"mpzmq ping {endpoint} --json >&-") == (0, "", "")
    assert shell("mpzmq ping 127.0.0.1:1 >&-")[0] == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("asked", ["--help", "--version", "keys --help"])
def test_a_stdout_that_takes_no_help(asked: str) -> None:
    assert shell(f"mpzmq {asked} >/dev/full") == (1, "", "mpzmq: cannot write to stdout: No space left on device\n")


def test_messages_do_not_go_to_stdout_where_stderr_is_closed() -> None:
    assert shell("mpzmq call 127.0.0.1:1 add 2>&-") == (2, "", "")


@pytest.mark.parametrize("program", ["-m mpzmq serve desk:server --bind", "-c"])
def test_a_container_without_any_stream(tmp_path: Path, program: str) -> None:
    """libuv aborts where it has to close one of its own descriptors under 3."""
    pytest.importorskip("uvloop", reason="the extra fast is not installed")
    (tmp_path / "desk.py").write_text(SERVER)
    bind = f"ipc://{tmp_path}/s"
    if program == "-c":
        program += f' \'import desk; desk.server.run("{bind}", loop="uvloop")\''
    else:
        program += f" {bind} --loop uvloop"
    process = subprocess.Popen(
        ["bash", "-c", f"exec {sys.executable} {program} <&- >&- 2>&-"], cwd=tmp_path, env=environment()
    )
    try:
        while shell(f"mpzmq ping {bind}")[0]:
            assert process.poll() is None
        assert shell(f"mpzmq call {bind} add 1")[:2] == (0, "2\n")
        process.terminate()
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()


# Encodings


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_reply_is_lost_by_an_encoding(endpoint: str, encoding: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mpzmq", "call", endpoint, "echo", json.dumps(ODD), "--json"],
        capture_output=True, timeout=SECONDS, env=environment(PYTHONIOENCODING=encoding), check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, b"")
    out = result.stdout.decode(encoding)
    assert json.loads(out)["result"] == ODD
    assert ("é" in out) is (encoding != "ascii")
    assert not re.search(r"[\x7f-\x9f]", out), "what a terminal would obey"


def test_other_commands_in_ascii(endpoint: str) -> None:
    for command in ("describe", "doctor"):
        code, out, err = shell(f"mpzmq {command} {endpoint}", LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        assert (code, err) == (0, "") and out


def test_text_is_escaped_where_it_must_be(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    say_json('{"a": "\x7f\u2028\U0001f600é"}')
    assert capsys.readouterr().out == '{"a": "\\u007f\\u2028\U0001f600é"}\n'
    say_wrapped("> ", "no terminal, no breaks " * 20)
    assert capsys.readouterr().out == "> " + "no terminal, no breaks " * 20 + "\n"
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputLost, match="it is closed"):
        say("x")


# Narrow terminals


@pytest.mark.parametrize("columns", [60, 80])
def test_the_doctor_on_a_terminal(endpoint: str, columns: int) -> None:
    code, lines = on_a_terminal(columns, "doctor", endpoint)
    assert code == 0
    assert max(map(len, lines)) <= columns
    *steps, build = [line for line in lines if not line.startswith(" ")]
    assert build == f"mpzmq {__version__}, {build_name()}"
    assert len(steps) == 6 and all(re.match(r"✓ \w+ +\S.* +\d+\.\d ms$", line) for line in steps)
    told = " ".join(line.strip() for line in lines)
    told = re.sub(r" +\d+\.\d ms", "", told)  # of the first line of a text
    assert re.search(r"WELCOME from instance [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12} ", told)
    assert re.search(r"3 answers, min \d+\.\d\d ms, avg \d+\.\d\d ms, status RUNNING", told)

    code, lines = on_a_terminal(columns, "doctor", "127.0.0.1:1")
    assert code == 2
    assert max(map(len, lines)) <= columns
    told = " ".join(line.strip() for line in lines)
    assert "→ start the container, or check the port; it may listen on another interface (127.0.0.1 or 0.0.0.0)" in told


@pytest.mark.parametrize("columns", [60])
def test_a_description_on_a_terminal(endpoint: str, columns: int) -> None:
    code, lines = on_a_terminal(columns, "describe", endpoint)
    assert code == 0
    assert max(map(len, lines)) <= columns
    assert "add(a: int, b: int = 1) -> int" in "\n".join(lines)
