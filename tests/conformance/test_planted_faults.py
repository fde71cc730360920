"""The faults fit the example as it is."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.node import EXAMPLE
from tests.support.waiting import scaled

from .planted_faults import CLIENT, CONTAINER, Fault

if TYPE_CHECKING:
    from pathlib import Path

BOTH, OF_ENGINES, OF_CONTAINERS = range(1, 4), range(4, 11), range(11, 16)


def test_there_are_twenty_of_each_and_every_rule_is_broken() -> None:
    assert {fault.rule for fault in CONTAINER} == {*BOTH, *OF_CONTAINERS}
    assert {fault.rule for fault in CLIENT} == {*BOTH, *OF_ENGINES}
    for faults, file in ((CONTAINER, "container.mjs"), (CLIENT, "client.mjs")):
        assert len({fault.name for fault in faults}) == 20
        assert {fault.file for fault in faults} == {file}


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_copy_with_a_fault_is_a_program(tmp_path: Path) -> None:
    """One process for all: ``node --check`` takes one file, and most of its time to start."""
    parse = """
        import { readFileSync } from "node:fs";
        import { SourceTextModule } from "node:vm";
        for (const path of process.argv.slice(1)) {
            try { new SourceTextModule(readFileSync(path, "utf8")); }
            catch (error) { console.log(`${path}: ${error}`); }
        }
    """
    broken = tmp_path / "broken.mjs"
    broken.write_text("const one = ;")
    paths = [broken]
    for fault in (*CONTAINER, *CLIENT):
        folder = tmp_path / str(len(paths))
        folder.mkdir()
        shutil.copy(EXAMPLE / fault.file, folder)
        paths.append(folder / fault.file)
        fault.plant(folder)
    command = ["node", "--experimental-vm-modules", "--input-type=module", "-e", parse, *map(str, paths)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=scaled(30.0), check=True)
    assert told.stdout == f"{broken}: SyntaxError: Unexpected token ';'\n", told.stderr


@pytest.mark.parametrize("fault", [*CONTAINER, *CLIENT], ids=lambda fault: fault.name)
def test_every_fault_fits(fault: Fault, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / fault.file, tmp_path)
    fault.plant(tmp_path)


def test_a_fault_that_does_not_fit_is_told(tmp_path: Path) -> None:
    (tmp_path / "client.mjs").write_text("a a")
    with pytest.raises(ValueError, match="occurs 2 times"):
        Fault("odd", "client.mjs", "a", "b", 1).plant(tmp_path)
