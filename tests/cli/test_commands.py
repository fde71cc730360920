"""The command itself: versions, help, wrong usage, and what it says where its extra is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
import zmq

import mpzmq
from mpzmq.cli import commands
from mpzmq.cli.build import build_name
from tests.support.commands import called, environment, run
from tests.support.waiting import SECONDS

if TYPE_CHECKING:
    from pathlib import Path


def test_version() -> None:
    result = run("--version")
    python = ".".join(map(str, sys.version_info[:3]))
    curve = "yes" if zmq.has("curve") else "no"
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        f"mpzmq {mpzmq.__version__}, {build_name()} (pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()},"
        f" Python {python}, curve {curve})\n"
    )


COMMANDS = [
    *(
        "call",
        "conformance",
        "demo",
        "describe",
        "doctor",
        "gateway",
        "keys",
        "manifest",
        "mcp",
        "ping",
        "reply",
        "schema",
        "serve",
    ),
    *("state", "stats", "stubs", "top", "up"),
]


@pytest.mark.parametrize("args", [[], *([name] for name in COMMANDS)], ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_ends_with_examples(args: list[str], option: str) -> None:
    result = called(*args, option)
    assert (result.returncode, result.stderr) == (0, "")
    examples = result.stdout.rpartition("Examples:\n")[2].splitlines()
    assert examples
    assert all("mpzmq " in line for line in examples)


def test_commands() -> None:
    listed = called("--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == COMMANDS


@pytest.mark.parametrize(
    "args",
    [["dmeo"], ["demo", "--jsno"], ["demo", "more"], ["call", "--tmieout", "3"], ["state", "x:1", "ON"], []],
    ids=" ".join,
)
def test_wrong_usage(args: list[str]) -> None:
    result = called(*args)
    assert (result.returncode, result.stdout) == (64, "")
    assert result.stderr.startswith("Usage: mpzmq")
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not hasattr(click.exceptions, "NoSuchCommand"), reason="click suggests commands since 8.4")
@pytest.mark.parametrize(
    "command",
    ["call x:1 f --timeout", "describe x:1 --timeout", "state x:1 --timeout", "doctor x:1 --timeout",
     "reply --drain-timeout", "reply --sleep", "reply --fail-rate", "serve a:b --drain-timeout"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["nan", "-1", "inf", "x"])
def test_numbers_that_are_none(command: str, value: str) -> None:
    with pytest.raises(click.UsageError, match=r"is not a (number|valid float)|is not in the range"):
        commands.mpzmq.main([*command.split(), value], standalone_mode=False)


def test_a_typo_gets_a_suggestion() -> None:
    assert "Did you mean 'demo'?" in called("dmeo").stderr
    assert "Did you mean '--timeout'?" in called("call", "127.0.0.1:1", "add", "--timeut", "3").stderr


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_named(tmp_path: Path, missing: str) -> None:
    (tmp_path / f"{missing}.py").write_text(f"raise ImportError('no {missing} here')\n")
    paths = f"{tmp_path}:{environment()['PYTHONPATH']}"
    result = run("demo", PYTHONPATH=paths)
    assert (result.returncode, result.stdout) == (69, "")
    assert result.stderr == (
        "mpzmq demo needs the extra 'cli': install mpzmq-engine[cli]"
        " (from a checkout: .venv/bin/pip install '.[cli]')\n"
    )


def test_a_container_needs_no_extra() -> None:
    source = "import sys, mpzmq.cli.demo.containers; print(sorted({'click', 'rich'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment(), timeout=SECONDS
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("load", "heavy"),
    [
        ("import mpzmq.cli.commands", {"asyncio", "rich", "zmq"}),
        ("import mpzmq.cli.serve", {"importlib.metadata", "mpzmq.engine.worker"}),
    ],
    ids=["help", "serve"],
)
def test_a_command_loads_what_it_needs(load: str, heavy: set[str]) -> None:
    source = f"import sys; {load}; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment(), timeout=SECONDS
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")
