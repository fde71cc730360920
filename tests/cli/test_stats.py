"""``mpzmq stats``: the counters of one container, or of several."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mpzmq.cli.stats import in_milliseconds
from mpzmq.testing import ContainerProcess
from tests.support.commands import SERVER, called
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("stats")
    (folder / "desk.py").write_text(SERVER)
    with ContainerProcess("desk:server", folder=folder) as one:
        yield one.endpoint


def test_counters(endpoint: str) -> None:
    before = json.loads(called("stats", endpoint, "--json").stdout)
    assert called("call", endpoint, "add", "1", "2").stdout == "3\n"
    result = called("stats", endpoint)
    assert (result.returncode, result.stderr) == (0, "")
    head, engines, headings, *rows = result.stdout.splitlines()
    assert head.endswith("in flight") and engines.startswith("1 engines are connected")
    assert headings.split()[:3] == ["function", "replied", "failed"]
    assert [row.split()[:3] for row in rows if row.startswith("add ")] == [["add", "1", "0"]]
    assert len({len(row) for row in rows} | {len(headings)}) == 1, "a table"
    after = json.loads(called("stats", endpoint, "--json").stdout)
    assert after["received"] > before["received"] and after["functions"]["add"]["replied"] == 1
    assert after["functions"]["add"]["durations"] is None
    every = json.loads(
        called("stats", f"{endpoint},127.0.0.1:{free_port()}", "--all", "--json", "--timeout", "1").stdout
    )
    assert list(every["results"]) == [endpoint] and len(every["errors"]) == 1
    assert called("stats", endpoint, "--all").stdout.startswith(f"{endpoint}:\n")


def test_nobody_there() -> None:
    result = called("stats", f"127.0.0.1:{free_port()}", "--json")
    assert result.returncode == 2 and json.loads(result.stdout)["exit_code"] == 2
    assert result.stderr.startswith("mpzmq stats: ")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (0.0000123, "0.0123 ms"), (0.0123, "12.3 ms"), (0.5, "500 ms"), (1.5, "1.5 s"), (60.0, "60 s")],
)
def test_times(seconds: float | None, shown: str) -> None:
    assert in_milliseconds(seconds) == shown
