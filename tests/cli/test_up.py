"""``mpzmq up``: real processes, real signals, real kills."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, GroupPolicy, RequestCancelled, blocking
from tests.support.commands import SECONDS, called, children, environment, is_alive, survivors
from tests.support.waiting import scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]

SERVER = """
import asyncio, os, re, signal, subprocess, sys, time
from mpzmq import ContainerServer

server = ContainerServer(name="desk")

@server.function
async def pid():
    await asyncio.sleep(0.02)
    return os.getpid()

@server.function
async def slow(seconds):
    await asyncio.sleep(seconds)

@server.function
def say(text):
    print(text, end="")

@server.function
def cpus():
    return sorted(os.sched_getaffinity(0))

@server.function(thread=True)
def hold_the_interpreter():
    print("holding", flush=True)
    re.match("(a+)+$", "a" * 60 + "b")

@server.function
def have_a_child():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]).pid

@server.function
def be_deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "desk.py").write_text(SERVER)
    return tmp_path


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line on stdout: an endpoint."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, process.communicate()
    return line


def until_said(process: subprocess.Popen[str], text: str) -> list[str]:
    """The lines on stderr, up to the one that has the text."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} is not in {lines}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = process.communicate(timeout=SECONDS)
    return process.returncode, stderr


def up(start: Start, folder: Path, *options: str) -> subprocess.Popen[str]:
    return start("up", "desk:server", "--app-dir", str(folder), "--log-level", "warning", *options)


@pytest.mark.long
async def test_a_reload_under_load_fails_nobody(start: Start, folder: Path) -> None:
    place = folder / "announced"
    process = up(start, folder, "-n", "4", "--announce", str(place), "--label", "kind=test", "--json")
    documents = [json.loads(await asyncio.to_thread(line_of, process)) for _ in range(4)]
    assert {document["process"] for document in documents} == {f"desk-{number}" for number in range(1, 5)}
    replies: list[int] = []
    errors: list[Exception] = []
    goes_on = True
    async with ComputerEngineWorker() as worker:
        group = await worker.group(f"dir://{place}", policy=GroupPolicy(max_attempts=5))
        await group.wait_ready(4)
        assert {member.labels["kind"] for member in group.members} == {"test"}

        async def ask() -> None:
            while goes_on:
                try:
                    replies.append(await group.call("pid"))
                except Exception as error:
                    errors.append(error)

        callers = [asyncio.create_task(ask()) for _ in range(40)]
        await until(lambda: len(set(replies)) == 4)
        before = set(replies)
        process.send_signal(signal.SIGHUP)
        # Each new one has served before the next old one ends: what replaces them is told in their order.
        told = [json.loads(await asyncio.to_thread(line_of, process)) for _ in range(4)]
        assert [document["process"] for document in told] == [f"desk-{number}" for number in range(1, 5)]
        await until(lambda: not any(is_alive(pid) for pid in before), SECONDS)
        count = len(replies)
        await until(lambda: len({*replies[count:]}) == 4, SECONDS)
        goes_on = False
        await soon(asyncio.gather(*callers), SECONDS)
        assert errors == []
        assert len(set(replies) - before) == 4
    process.terminate()
    code, stderr = await asyncio.to_thread(ended, process)
    assert code == 0, stderr
    assert os.listdir(place) == []
    assert survivors([*set(replies)], 0) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found in /proc")
def test_a_killed_parent_leaves_nobody_behind(start: Start, folder: Path) -> None:
    """Not one that is frozen, nor one whose interpreter is held by a regular expression, nor what they have started."""
    process = up(start, folder, "-n", "3")
    endpoints = [line_of(process) for _ in range(3)]
    pids = children(process.pid, 3)
    with blocking.connect(endpoints[0]) as one, blocking.connect(endpoints[1]) as other:
        pids.append(one.call("have_a_child"))
        frozen = other.call("pid")
        one.submit("hold_the_interpreter")
        until_said(process, "holding")
        os.kill(frozen, signal.SIGSTOP)
        process.kill()
        process.wait()
        assert survivors(pids, scaled(3.0)) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found in /proc")
def test_one_whose_parent_is_killed_while_it_starts_ends(start: Start, folder: Path) -> None:
    (folder / "desk.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(3600)\n")
    process = up(start, folder, "-n", "3")
    until_said(process, "importing")
    pids = children(process.pid, 1)
    process.kill()
    process.wait()
    assert survivors(pids, scaled(3.0)) == []


def test_one_that_dies_is_started_again(start: Start, folder: Path) -> None:
    process = up(start, folder, "-n", "1")
    with blocking.connect(line_of(process)) as handle:
        pid, child = handle.call("pid"), handle.call("have_a_child")
    os.kill(pid, signal.SIGKILL)
    assert until_said(process, "has ended")[-1] == "desk-1: has ended by SIGKILL; it is started again in 0.5 s\n"
    with blocking.connect(line_of(process)) as handle:
        assert handle.call("pid") != pid
    assert survivors([child]) == []  # what it has started has ended with it
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 0


def test_what_cannot_be_imported_is_told_once(start: Start, folder: Path) -> None:
    (folder / "desk.py").write_text("x = (\n")
    code, stderr = ended(up(start, folder, "-n", "4"))
    assert code == 66
    assert stderr.count("SyntaxError") == 1 and stderr.count("is started") == 1
    assert stderr.splitlines()[-1] == "desk-1: has ended with exit code 66 before it served"


def test_one_that_hangs_in_its_start_is_given_up(start: Start, folder: Path) -> None:
    (folder / "desk.py").write_text("import time\ntime.sleep(3600)\n")
    code, stderr = ended(up(start, folder, "-n", "2", "--start-timeout", "1"))
    assert code == 128 + signal.SIGKILL
    assert stderr.splitlines()[-2:] == [
        "desk-1: is not serving in time, and is killed",
        "desk-1: did not serve in time, and was killed",
    ]


def test_one_that_fails_again_and_again_is_given_up(start: Start, folder: Path) -> None:
    (folder / "desk.py").write_text(
        SERVER.replace('ContainerServer(name="desk")', "ContainerServer(lifespan=lambda server: 1 / 0)")
    )
    code, stderr = ended(up(start, folder, "-n", "1", "--max-restarts", "1"))
    assert code == 1
    assert "desk-1: has ended with exit code 1 before it served; it is started again in 0.5 s\n" in stderr
    assert stderr.endswith("before it served, and is given up after 2 failures in a row\n")


def test_one_that_does_not_heed_sigterm_is_killed(start: Start, folder: Path) -> None:
    process = up(start, folder, "-n", "2", "--drain-timeout", "0")
    endpoints = [line_of(process), line_of(process)]
    with blocking.connect(endpoints[0]) as handle:
        handle.call("be_deaf")
    process.terminate()
    code, stderr = ended(process)
    assert code == 128 + signal.SIGKILL
    assert "is not gone in time, and is killed\n" in stderr and "has ended by SIGKILL\n" in stderr
    assert "has ended with exit code 0\n" in stderr


def test_a_second_signal_closes_at_once(start: Start, folder: Path) -> None:
    process = up(start, folder, "-n", "1", "--drain-timeout", "3600")
    with blocking.connect(line_of(process)) as handle:
        running = handle.submit("slow", 3600)
        handle.call("pid")  # behind it
        process.terminate()
        while str(handle.state) != "DRAINING":
            pass
        process.terminate()
        with pytest.raises(RequestCancelled):
            running.result(SECONDS)
    assert ended(process)[0] == 0


def test_lines_have_the_name_of_their_process_and_nothing_that_a_terminal_would_obey(
    start: Start, folder: Path
) -> None:
    process = up(start, folder, "-n", "1")
    with blocking.connect(line_of(process)) as handle:
        handle.call("say", "one\n\x1b[2J\ttwo\r\nthree \u202e\n" + "x" * 5000 + "\nno end")
    process.terminate()
    code, stderr = ended(process)
    lines = [line.removeprefix("desk-1 | ") for line in stderr.splitlines() if line.startswith("desk-1 | ")]
    assert code == 0
    assert lines == ["one", "\\x1b[2J\ttwo", "three \\u202e", "x" * 4096, "x" * 904, "no end"]


def test_a_port_is_kept_and_a_reload_ends_the_old_one_first_where_there_is_no_other(start: Start, folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = up(start, folder, "-n", "1", "--ports", str(port))
    endpoint = line_of(process)
    assert endpoint == f"tcp://127.0.0.1:{port}"
    with blocking.connect(endpoint) as handle:
        pid = handle.call("pid")
        process.send_signal(signal.SIGHUP)
        assert line_of(process) == endpoint
        assert handle.call("pid") != pid  # waits for the new one
    process.terminate()
    assert ended(process)[0] == 0


def test_a_reload_with_broken_code_leaves_everything_as_it_is(start: Start, folder: Path) -> None:
    process = up(start, folder, "-n", "2")
    endpoints = [line_of(process), line_of(process)]
    (folder / "desk.py").write_text("x = (\n")
    process.send_signal(signal.SIGHUP)
    lines = until_said(process, "the reload is given up")
    assert sum("SyntaxError" in line for line in lines) == 1
    for endpoint in endpoints:
        with blocking.connect(endpoint) as handle:
            assert handle.call("pid")
    process.terminate()
    assert ended(process)[0] == 0


def test_a_signal_during_a_reload_ends_all(start: Start, folder: Path) -> None:
    process = up(start, folder, "-n", "2")
    for _ in range(2):
        line_of(process)
    pids = children(process.pid, 2) if os.path.isdir("/proc/self") else []
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    until_said(process, "desk-1: process")
    until_said(process, "desk-1: process")
    process.terminate()
    assert ended(process)[0] == 0
    assert survivors(pids, 0) == []


def test_a_reload_that_is_asked_for_while_it_starts_does_not_end_it(folder: Path) -> None:
    code = """
import os, signal, sys
import mpzmq.cli

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "mpzmq.cli.up":  # which has the handlers
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, Finder())
sys.exit(mpzmq.cli.main())
"""
    command = [sys.executable, "-c", code, "up", "desk:server", "-n", "1", "--app-dir", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    ) as process:
        try:
            until_said(process, "reload: each process is replaced")
            assert line_of(process)
            process.terminate()
            assert ended(process)[0] == 0
        finally:
            process.kill()


def test_a_reload_in_a_folder_that_was_removed_says_so_and_leaves_everything_as_it_is(
    start: Start, folder: Path
) -> None:
    process = start("up", "desk:server", "-n", "1", folder=folder)
    line_of(process)
    shutil.rmtree(folder)
    process.send_signal(signal.SIGHUP)
    lines = until_said(process, "the reload is given up")
    assert sum("mpzmq serve: the folder '.' is not to be found any more: No such file" in line for line in lines) == 1
    process.terminate()
    assert ended(process)[0] == 0


def test_whoever_ignores_sigchld_still_hears_how_processes_end(folder: Path) -> None:
    """Else the system keeps no exit code, and Python says 0."""
    command = [sys.executable, "-m", "mpzmq", "up", "nowhere:server", "-n", "1", "--app-dir", str(folder)]
    it = subprocess.run(
        ["sh", "-c", 'trap "" CHLD; exec "$@"', "sh", *command],
        capture_output=True, text=True, env=environment(), timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (it.returncode, it.stdout) == (66, "")
    assert "nowhere-1: has ended with exit code 66 before it served" in it.stderr


def test_the_end_of_its_terminal_is_no_reload(folder: Path) -> None:
    command = [sys.executable, "-m", "mpzmq", "up", "desk:server", "-n", "1", "--app-dir", str(folder)]
    pid, terminal = pty.fork()
    if not pid:
        try:
            os.execve(command[0], command, environment())
        finally:
            os._exit(1)
    said = b""
    while b"serves on" not in said:
        said += os.read(terminal, 4096)
    os.kill(pid, signal.SIGHUP)  # while it is there
    while b"desk-1: has ended" not in said:
        said += os.read(terminal, 4096)
    assert said.count(b"desk-1: serves on") == 2
    assert is_alive(pid)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.skipif(shutil.which("nohup") is None, reason="nohup is not here")
async def test_with_nohup_it_outlives_its_terminal(folder: Path) -> None:
    log = folder / "up.log"
    command = [sys.executable, "-m", "mpzmq", "up", "desk:server", "-n", "1", "--app-dir", str(folder)]
    pid, terminal = pty.fork()
    if not pid:
        try:
            os.execvpe("sh", ["sh", "-c", 'exec nohup "$@" >"$0" 2>&1', str(log), *command], environment())
        finally:
            os._exit(1)

    def has_served(times: int) -> bool:
        return log.exists() and log.read_text().count("desk-1: serves on") >= times

    def has_reloaded() -> bool:
        os.kill(pid, signal.SIGHUP)  # the first one says that the terminal is gone
        return has_served(2)

    await until(lambda: has_served(1))
    os.close(terminal)
    await until(has_reloaded)
    os.kill(pid, signal.SIGTERM)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are pinned on Linux only")
def test_processors_are_shared_out(start: Start, folder: Path) -> None:
    usable = sorted(os.sched_getaffinity(0))
    process = up(start, folder, "-n", "2", "--cpus", "auto", "--json")
    for _ in range(2):
        document = json.loads(line_of(process))
        with blocking.connect(document["endpoint"]) as handle:
            half = len(usable) // 2
            mine = usable[:half] if document["process"] == "desk-1" else usable[half:]
            assert handle.call("cpus") == (mine if half else usable)
    process.terminate()
    assert ended(process)[0] == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-n", "0"], "Invalid value for '-n'"),
        (["-n", "2", "--ports", "3010"], "2 processes need 2 ports, and --ports has 1"),
        (["--ports", "3013-3010"], "'3013-3010' is no range of ports: from 1 to 65535, the lower one first"),
        (["--ports", "many"], "'many' is no range of ports: write 3010-3013"),
        (["--cpus", "0-x"], "--cpus: '0-x' names no processors: write them as 0-3,8, or auto"),
        (["--cpus", "99999"], "--cpus: processor 99999 cannot be used here"),
        (["--label", "gpu=1"], "--label is announced: it needs --announce DIR"),
        (["--host", "nowhere.example:1"], "nowhere.example:1"),
        (["--host", "a b"], "a b"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_usage(options: list[str], told: str) -> None:
    result = called("up", "desk:server", "-n", "1", *options)
    assert result.returncode == 64
    assert told in result.stderr


def test_other_hosts_need_keys(start: Start, folder: Path) -> None:
    code, stderr = ended(up(start, folder, "-n", "1", "--host", "0.0.0.0", "--max-restarts", "0"))
    assert code == 77
    assert "0.0.0.0" in stderr


def test_a_reader_of_stdout_that_goes_away_ends_it(start: Start, folder: Path) -> None:
    process = up(start, folder, "-n", "1")
    assert process.stdout is not None
    pid = blocking_pid(line_of(process))
    process.stdout.close()
    os.kill(pid, signal.SIGKILL)
    assert process.wait(SECONDS) == 141


def test_a_reader_of_stdout_that_takes_nothing_keeps_nobody(folder: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    command = [sys.executable, "-m", "mpzmq", "up", "desk:server", "--app-dir", str(folder), "-n", "1"]
    process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment())
    os.close(writing)
    try:
        until_said(process, "desk-1: serves on")
        process.terminate()
        code, stderr = ended(process)
    finally:
        process.kill()
        os.close(reading)
    assert code == 0, stderr


def blocking_pid(endpoint: str) -> int:
    with blocking.connect(endpoint) as handle:
        pid = handle.call("pid")
    assert isinstance(pid, int)
    return pid
