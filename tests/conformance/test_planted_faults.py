"""The faults fit the example as it is."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.node import EXAMPLE

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


@pytest.mark.parametrize("fault", [*CONTAINER, *CLIENT], ids=lambda fault: fault.name)
def test_a_copy_with_the_fault_is_a_program(fault: Fault, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / fault.file, tmp_path)
    fault.plant(tmp_path)
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed: that the fault fits was seen, not that it parses")
    checked = subprocess.run([node, "--check", fault.file], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr


def test_a_fault_that_does_not_fit_is_told(tmp_path: Path) -> None:
    (tmp_path / "client.mjs").write_text("a a")
    with pytest.raises(ValueError, match="occurs 2 times"):
        Fault("odd", "client.mjs", "a", "b", 1).plant(tmp_path)
