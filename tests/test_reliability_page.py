"""The fault table of docs/reliability.md names tests that exist, and commands that do."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.chaos import __main__ as chaos
from tests.simulation import __main__ as simulation

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text("utf-8")
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
COMMAND = re.compile(r"\bpython -m tests\.(chaos|simulation)((?: --?[\w-]+| [\d.]+)*)")
OPTION = re.compile(r"--[\w-]+")


def faults() -> list[list[str]]:
    """The rows of the fault table, as cells."""
    table = PAGE.split("\n## The fault table\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines() if line[:2] == "| "]
    return [row for row in rows if row[0] != "fault"]


def functions(file: Path) -> set[str]:
    """The names of all functions of a module, in classes too."""
    tree = ast.parse(file.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_row_has_its_columns() -> None:
    assert len(faults()) > 50
    assert [row for row in faults() if len(row) != 5 or not (row[0] and row[1] and row[4])] == []


def test_every_row_names_what_shows_it() -> None:
    shown_elsewhere = "the same tests: "
    rows = [row for row in faults() if not TEST.search(row[4]) and not row[4].startswith(shown_elsewhere)]
    assert rows == []


@pytest.mark.parametrize("file", sorted({file for file, _ in TEST.findall(PAGE)}))
def test_every_test_that_is_named_exists(file: str) -> None:
    named = {name for other, name in TEST.findall(PAGE) if other == file and name != "test_x"}
    assert named - functions(TESTS / file) == set()


def test_every_command_that_is_named_exists() -> None:
    sources = {"chaos": chaos.__file__, "simulation": simulation.__file__}
    found = COMMAND.findall(PAGE)
    assert {module for module, _ in found} == set(sources)
    for module, options in found:
        source = Path(sources[module]).read_text("utf-8")
        for option in OPTION.findall(options):
            assert f'"{option}"' in source, f"python -m tests.{module} has no {option}"


def test_there_is_one_place_for_the_times() -> None:
    measured = PAGE.split("\n## Measured\n")[1].split("\n## ")[0]
    assert "<!-- times -->" in measured or "| fault |" in measured
