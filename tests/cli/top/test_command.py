"""``mpzmq top`` as a command: on a terminal with keys, into a pipe, and every way to end it."""

from __future__ import annotations

import json
import signal
import termios
from typing import TYPE_CHECKING

import click
import pytest

from mpzmq.cli.top.table import SORTS
from mpzmq.cli.watch_commands import top
from mpzmq.testing import ContainerProcess
from tests.support.commands import SECONDS, SERVER, called
from tests.support.ports import free_port
from tests.support.terminal import ESCAPE, STYLE, Terminal

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerProcess]:
    folder = tmp_path_factory.mktemp("top")
    (folder / "desk.py").write_text(SERVER)
    with ContainerProcess("desk:server", folder=folder) as one:
        yield one


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal(60)
    yield made
    made.close()


def test_once(desk: ContainerProcess) -> None:
    dead = f"127.0.0.1:{free_port()}"
    assert called("call", desk.endpoint, "add", "1", "2").stdout == "3\n"
    result = called("top", desk.endpoint, dead, "--once", "--functions", "--interval", "0.1")
    assert (result.returncode, result.stderr) == (0, "")
    head, *rows = result.stdout.splitlines()
    assert head.split()[:3] == ["container", "state", "rtt"] and "trend" not in head
    states = {row.split()[0]: row.split()[1] for row in rows}
    assert (states[desk.endpoint], states[dead], states["add"]) == ("ALIVE", "DOWN", "0")
    assert rows[-1].startswith(f"{dead}: ConnectRefused: ")

    document = json.loads(called("top", f"{desk.endpoint},{dead}", "--once", "--json", "--interval", "0.1").stdout)
    found = {one["name"]: one for one in document["containers"]}
    assert found[desk.endpoint]["figures"]["requests"] == 0 and found[desk.endpoint]["age"] is None
    assert found[desk.endpoint]["functions"]["add"]["p99"] > 0
    assert (found[dead]["state"], found[dead]["figures"]) == ("DOWN", None)
    assert document["missing"] == {}


def test_nobody_there(tmp_path: Path) -> None:
    for source in (f"127.0.0.1:{free_port()}", f"file://{tmp_path}/none"):
        result = called("top", source, "--once", "--timeout", "0.3", "--interval", "0.1")
        assert result.returncode == 2 and source in result.stdout.splitlines()[-1]


def test_it_can_be_sorted_by_all_that_there_is() -> None:
    (sort,) = (parameter for parameter in top.params if parameter.name == "sort")
    assert isinstance(sort.type, click.Choice) and list(sort.type.choices) == list(SORTS)


@pytest.mark.parametrize("args", ["consul://calc", "127.0.0.1", "127.0.0.1:1 --once --count 2", "127.0.0.1:1 --sort x"])
def test_wrong_usage(args: str) -> None:
    result = called("top", *args.split())
    assert (result.returncode, result.stdout) == (64, "")


def test_so_many_times_into_a_pipe(desk: ContainerProcess) -> None:
    result = called("top", desk.endpoint, "--count", "2", "--interval", "0.1")
    assert (result.returncode, result.stderr) == (0, "")
    first, second = result.stdout.split("\n\n")
    assert first.splitlines()[0].split()[0] == second.splitlines()[0].split()[0] == "container"
    lines = called("top", desk.endpoint, "--count", "2", "--interval", "0.1", "--json").stdout.splitlines()
    assert [json.loads(line)["containers"][0]["state"] for line in lines] == ["ALIVE", "ALIVE"]


def test_ctrl_c_ends_it_in_a_pipe_too(start: Start, desk: ContainerProcess) -> None:
    process = start("top", desk.endpoint, "--json", "--interval", "0.1")
    assert process.stdout is not None
    assert "ALIVE" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=SECONDS)
    assert (process.returncode, messages) == (0, "")


def test_a_closed_pipe_ends_it(start: Start, desk: ContainerProcess) -> None:
    process = start("top", desk.endpoint, "--interval", "0.1")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=SECONDS) == 141
    assert process.stderr.read() == ""


def test_a_terminal(start: Start, desk: ContainerProcess, terminal: Terminal) -> None:
    before = terminal.mode()
    dead = f"127.0.0.1:{free_port()}"
    process = start("top", desk.endpoint, dead, "--interval", "0.1", terminal=terminal.theirs)
    terminal.read(until="ALIVE")
    terminal.read(until="DOWN")
    assert terminal.mode()[6][termios.VSUSP] == b"\0", "Ctrl-Z would leave the shell with this terminal"
    assert f"{ESCAPE}[?1049h" in terminal.text
    seen = STYLE.sub("", terminal.text)
    assert "req/s" in seen and "p99" in seen and "trend" not in seen
    for typed, shown in (("f", "f containers"), ("r", "r *requests")):
        mark = len(terminal.text)
        terminal.type(typed)
        terminal.read(until=shown, start=mark)
    mark = len(terminal.text)
    terminal.resize(120)
    terminal.read(until="trend", start=mark)

    terminal.type("q")
    terminal.hand_over()
    terminal.read()
    assert process.wait(timeout=SECONDS) == 0
    _left_as_it_was(terminal, before)


def test_containers_that_come_and_go(start: Start, tmp_path: Path, terminal: Terminal) -> None:
    (tmp_path / "desk.py").write_text(SERVER)
    announced = tmp_path / "announced"
    announced.mkdir()
    process = start("top", f"dir://{announced}", "--interval", "0.1", terminal=terminal.theirs)
    terminal.read(until="it names no containers")
    command = ["serve", "desk:server", "--announce", str(announced)]
    desk = start(*command, "--bind", f"127.0.0.1:{free_port()}", folder=tmp_path)
    for seen, change in (("ALIVE", desk.kill), ("DOWN", lambda: start(*command, folder=tmp_path)), ("ALIVE", None)):
        mark = len(terminal.text)
        terminal.read(until=seen, start=mark)
        if change is not None:
            change()
    terminal.type("q")
    terminal.hand_over()
    terminal.read()
    assert process.wait(timeout=SECONDS) == 0


# A signal, because the terminal of a test has no process group in front, to which Ctrl-C would send it.
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_leaves_the_terminal_as_it_was(
    start: Start, terminal: Terminal, number: signal.Signals, code: int
) -> None:
    before = terminal.mode()
    process = start("top", f"127.0.0.1:{free_port()}", "--interval", "0.1", terminal=terminal.theirs)
    terminal.read(until="DOWN")
    process.send_signal(number)
    terminal.hand_over()
    terminal.read()
    assert process.wait(timeout=SECONDS) == code
    _left_as_it_was(terminal, before)


def _left_as_it_was(terminal: Terminal, before: object) -> None:
    assert terminal.mode() == before
    assert terminal.text.rindex(f"{ESCAPE}[?1049l") > terminal.text.rindex(f"{ESCAPE}[?1049h")
    assert terminal.text.rindex(f"{ESCAPE}[?25h") > terminal.text.rindex(f"{ESCAPE}[?25l")
    assert "Traceback" not in terminal.text
