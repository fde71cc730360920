"""``mpzmq serve --announce``: a file behind the bind, gone behind the drain, and recognised where nobody removed it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from mpzmq import ComputerEngineWorker, blocking
from mpzmq.cli import serve
from mpzmq.cli.commands import mpzmq
from mpzmq.engine.resolvers import resolver_for
from tests.engine.resolvers.watching import watching
from tests.support.commands import SECONDS, SERVER

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "desk.py").write_text(SERVER)
    return tmp_path


def endpoint_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    endpoint = process.stdout.readline().strip()
    assert endpoint, process.communicate()
    return endpoint


def told_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in folder.glob("*.json")]


def test_a_file_from_the_bind_to_the_end_of_the_drain(start: Start, folder: Path) -> None:
    binds = ("--bind", "tcp://127.0.0.1:0", "--bind", f"ipc://{folder}/s")
    process = start("serve", "desk:server", "--app-dir", str(folder), *binds, "--announce", f"{folder}/a/b")
    endpoints = [endpoint_of(process), endpoint_of(process)]
    (told,) = told_in(folder / "a" / "b")
    assert (told["name"], told["addresses"]) == ("desk\x1b[31m", endpoints)
    assert told["process"]["pid"] == process.pid
    assert len(os.listdir(folder / "a" / "b")) == 1  # and nothing that is half done
    answers: list[Any] = []
    with blocking.connect(endpoints[0]) as handle, blocking.connect(endpoints[1]) as other:
        thread = threading.Thread(target=lambda: answers.append(handle.call("slow", 0.5)))
        thread.start()
        while other.call("running") < 1:
            pass
        process.send_signal(signal.SIGTERM)
        while str(other.state) != "DRAINING":
            pass
        assert len(told_in(folder / "a" / "b")) == 1  # it still answers
        thread.join(SECONDS)
    process.communicate(timeout=SECONDS)
    assert (answers, process.returncode) == ([0.5], 0)
    assert os.listdir(folder / "a" / "b") == []


async def test_a_group_sees_them_come_and_go(start: Start, folder: Path) -> None:
    """Whether told or killed: the file of one that was killed stays until the next one starts there."""
    place = folder / "a"

    def serving() -> tuple[subprocess.Popen[str], str]:
        process = start("serve", "desk:server", MPZMQ_APP_DIR=str(folder), MPZMQ_ANNOUNCE=str(place))
        return process, endpoint_of(process)

    async with watching(resolver_for(f"dir://{place}")) as watch:
        assert await watch.next() == ()
        (one, first), (two, second) = serving(), serving()
        assert await watch.until(lambda addresses: len(addresses) == 2) in ([first, second], [second, first])
        two.send_signal(signal.SIGTERM)
        assert await watch.addresses() == [first]
        one.kill()
        assert await watch.addresses() == []
        assert len(told_in(place)) == 1
        _, third = serving()
        assert await watch.addresses() == [third]
        assert [told["addresses"] for told in told_in(place)] == [[third]]


async def test_labels_and_a_weight(start: Start, folder: Path) -> None:
    place = folder / "a"
    options = ("--label", "gpu=1", "--label", "zone=a=b", "--weight", "2.5")
    process = start("serve", "desk:server", "--app-dir", str(folder), "--announce", str(place), *options)
    endpoint = endpoint_of(process)
    async with ComputerEngineWorker() as worker, worker.group(f"dir://{place}") as group:
        (member,) = group.where(gpu="1").members
        assert (member.address, member.labels, member.weight) == (endpoint, {"gpu": "1", "zone": "a=b"}, 2.5)
        assert group.where(gpu="0").members == ()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--announce", "a", "--label", "gpu"], "'gpu' is no label: KEY=VALUE"),
        (["--announce", "a", "--label", "=1"], "'=1' is no label"),
        (["--announce", "a", "--weight", "0"], "0.0 is not in the range"),
        (["--announce", "a", "--weight", "nan"], "nan"),
        (["--announce", "a", "--weight", "inf"], "inf"),
        (["--label", "gpu=1"], "it needs --announce or --join"),
        (["--weight", "2"], "it needs --announce DIR"),
    ],
)
def test_what_cannot_be_announced(options: list[str], told: str) -> None:
    result = CliRunner().invoke(mpzmq, ["serve", "desk:server", "--bind", "tcp://127.0.0.1:0", *options])
    assert result.exit_code == 2 and told in result.output


def test_a_folder_that_is_none(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "desk", raising=False)
    options: dict[str, Any] = {"insecure": False, "drain_timeout": 1.0, "log_level": "error", "loop": "asyncio"}
    place = f"{folder}/desk.py"
    code = serve.serve(
        "desk:server", ["tcp://127.0.0.1:0"], folder=str(folder), announce=place, as_json=False, **options
    )
    assert code == 71
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"mpzmq serve: cannot announce in {place}: File exists\n"
