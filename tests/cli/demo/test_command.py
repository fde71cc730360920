"""``mpzmq demo`` as a command: on a terminal from beginning to end, and every way to end it before."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import SECONDS, children, environment, survivors
from tests.support.terminal import COLOUR, ESCAPE, STYLE, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]

SERVES = re.compile(r"(container-\d) +started +process (\d+) serves on 127\.0\.0\.1:\d+")
NAMES = ["container-1", "container-2", "container-3"]


def read_until_started(process: subprocess.Popen[str]) -> list[int]:
    """Reads plain lines until all containers serve; their process ids."""
    assert process.stdout is not None
    pids = []
    for line in process.stdout:
        if found := SERVES.search(line):
            pids.append(int(found[2]))
        if len(pids) == len(NAMES):
            return pids
    raise AssertionError(f"the demo ended before it had started {len(NAMES)} containers")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_it(start: Start, number: signal.Signals, code: int) -> None:
    process = start("demo")
    pids = read_until_started(process)
    process.send_signal(number)
    _, messages = process.communicate(timeout=SECONDS)
    assert process.returncode == code
    assert "Traceback" not in messages
    assert len(messages.splitlines()) <= 1
    assert survivors(pids) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="its children are found in /proc")
@pytest.mark.parametrize("option", ["--json", "--svg=demo.svg"])
def test_an_interrupted_document_is_no_half_document(start: Start, tmp_path: Path, option: str) -> None:
    process = start("demo", option, folder=tmp_path)
    pids = children(process.pid, len(NAMES))
    process.send_signal(signal.SIGINT)
    document, messages = process.communicate(timeout=SECONDS)
    assert (process.returncode, document) == (130, "")
    assert messages == "mpzmq demo: interrupted\n"
    assert list(tmp_path.iterdir()) == []
    assert survivors(pids) == []


def test_a_closed_pipe_ends_it(start: Start) -> None:
    process = start("demo")
    pids = read_until_started(process)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=SECONDS) == 141
    assert process.stderr.read() == ""
    assert survivors(pids) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_told() -> None:
    command = [sys.executable, "-m", "mpzmq", "demo"]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), timeout=SECONDS
        )
    assert result.returncode == 1
    assert result.stderr == "mpzmq demo: cannot write to stdout: No space left on device\n"


def test_containers_end_with_a_demo_that_is_killed(start: Start) -> None:
    process = start("demo")
    pids = read_until_started(process)
    process.kill()
    assert survivors(pids) == []


def test_a_terminal_gets_a_live_table(start: Start) -> None:
    terminal = Terminal()
    process = start("demo", terminal=terminal.theirs)
    terminal.hand_over()
    terminal.read()
    terminal.close()
    assert process.wait(timeout=SECONDS) == 0
    text = terminal.text
    assert COLOUR.search(text)
    assert "…" not in text, "the table is too wide for 80 columns"
    drawn = [line for line in text.splitlines() if "container-2" in line]
    assert any("DOWN" in line for line in drawn)
    assert len(drawn) > 15, "the table was not drawn again and again"
    hidden, shown = f"{ESCAPE}[?25l", f"{ESCAPE}[?25h"
    assert text.rindex(shown) > text.rindex(hidden)
    assert re.search(r"requests = .* answered \+ .* failed", text)


def test_ctrl_c_gives_the_terminal_back_and_no_color_is_kept(start: Start) -> None:
    terminal = Terminal()
    process = start("demo", terminal=terminal.theirs, NO_COLOR="1")
    terminal.hand_over()
    terminal.read(until="said WELCOME")
    process.send_signal(signal.SIGINT)
    terminal.read()
    terminal.close()
    assert process.wait(timeout=SECONDS) == 130
    assert not COLOUR.search(terminal.text)
    assert "Traceback" not in terminal.text
    assert terminal.text.rindex(f"{ESCAPE}[?25h") > terminal.text.rindex(f"{ESCAPE}[?25l")
    pids = [int(found[2]) for found in SERVES.finditer(STYLE.sub("", terminal.text))]
    assert len(pids) == len(NAMES)
    assert survivors(pids) == []
