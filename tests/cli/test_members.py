"""``call``, ``describe``, ``state`` and ``ping`` of a source: one of its containers, or all of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mpzmq.testing import ContainerProcess
from tests.support.commands import SERVER, called
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("members")
    (folder / "desk.py").write_text(SERVER)
    with ContainerProcess("desk:server", folder=folder) as one, ContainerProcess("desk:server", folder=folder) as two:
        yield [one.endpoint, two.endpoint]


@pytest.fixture
def source(endpoints: list[str], tmp_path: Path) -> str:
    (tmp_path / "desks.txt").write_text("\n".join(endpoints))
    return f"file://{tmp_path}/desks.txt"


@pytest.fixture
def dead() -> str:
    return f"127.0.0.1:{free_port()}"


def test_one_of_them(endpoints: list[str], source: str, dead: str) -> None:
    for members in (source, ",".join(endpoints), f"{dead},{endpoints[0]}"):
        result = called("call", members, "add", "1", "2")
        assert (result.returncode, result.stdout, result.stderr) == (0, "3\n", "")
    assert called("call", source, "--invoke", "5").stdout == "5\n"
    assert called("call", source, "count", "2").stdout == "0\n1\n"
    assert called("state", source).stdout == "RUNNING\n"
    assert "add(a: int, b: int = 1) -> int" in called("describe", source).stdout
    result = called("ping", source)
    assert result.returncode == 0
    assert result.stdout.split(": seq=1 ")[0] in endpoints


def test_all_of_them(endpoints: list[str], source: str) -> None:
    result = called("call", source, "add", "1", "2", "--all")
    assert (result.returncode, result.stderr) == (0, "")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [{name: 3} for name in endpoints]
    result = called("call", source, "--all", "--invoke", '{"$b64": "aGk="}', "--json")
    assert json.loads(result.stdout) == {
        "results": {key: {"$b64": "aGk="} for key in endpoints},
        "errors": {},
        "exit_code": 0,
    }
    described = json.loads(called("describe", source, "--all", "--json").stdout)["results"]
    assert list(described) == endpoints
    assert described[endpoints[0]]["instance"] != described[endpoints[1]]["instance"]
    assert called("describe", source, "--all").stdout.count("add(a: int, b: int = 1) -> int") == 2
    result = called("ping", source, "--all", "-c", "2", "-i", "0.01", "--json")
    assert json.loads(result.stdout)["received"] == 4


def test_their_run_state(endpoints: list[str], source: str) -> None:
    try:
        result = called("state", source, "STOP", "--all")
        assert result.stdout == "".join(f"{name}  STOP\n" for name in endpoints)
        assert called("ping", source, "--all").returncode == 4
        assert called("ping", source, "--all", "--live").returncode == 0
        result = called("call", source, "add", "1", "--all")
        assert result.returncode == 4
        assert [line.split(": ")[:3] for line in result.stderr.splitlines()] == [
            ["mpzmq call", name, "ContainerStopped"] for name in endpoints
        ]
    finally:
        called("state", source, "RUNNING", "--all")
    assert json.loads(called("state", source, "--all", "--json").stdout)["results"] == dict.fromkeys(
        endpoints, "RUNNING"
    )


def test_one_that_is_not_there_costs_no_other(endpoints: list[str], dead: str) -> None:
    members = f"{dead}, {endpoints[0]}"
    for command in (["call", members, "add", "1"], ["state", members], ["describe", members]):
        result = called(*command, "--all", "--json")
        told = json.loads(result.stdout)
        assert (result.returncode, told["exit_code"]) == (2, 2)
        assert list(told["results"]) == [endpoints[0]]
        assert told["errors"][dead]["type"] == "NotConnected"
        assert f"mpzmq {command[0]}: {dead}: NotConnected: " in result.stderr
    result = called("ping", members, "--all")
    assert result.returncode == 2
    assert f"{endpoints[0]}: seq=1 " in result.stdout


@pytest.mark.parametrize("command", ["call", "state", "describe", "ping"])
def test_what_is_no_source(command: str, tmp_path: Path, dead: str) -> None:
    more = ["echo"] if command == "call" else []
    for source, code, text in (
        ("consul://calc", 64, "there are dir://"),
        ("dns://calc", 64, "write dns://calc:3010"),
        ("env://NOT_SET_ANYWHERE", 64, "is not set"),
        (f"file://{tmp_path}/none", 2, "No such file or directory"),
        (f"{dead},", 2, dead),
    ):
        result = called(command, source, *more, *(["--all"] if code == 64 else []), "--timeout", "0.3")
        assert (result.returncode, result.stdout) == (code, "")
        assert text in result.stderr.splitlines()[-1]
