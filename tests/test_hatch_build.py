"""What hatch_build.py lists is there: a module that is renamed is compiled as before, or not, as before."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mpzmq"


def listed(name: str) -> set[str]:
    """A list of hatch_build.py, read without hatchling."""
    for node in ast.parse((ROOT / "hatch_build.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"hatch_build.py has no {name}")


@pytest.mark.parametrize("pattern", sorted(listed("HOT")))
def test_what_is_compiled_is_there(pattern: str) -> None:
    assert list(PACKAGE.glob(pattern))


@pytest.mark.parametrize("name", sorted(listed("INTERPRETED")))
def test_what_is_left_out_would_be_compiled(name: str) -> None:
    assert PACKAGE / name in {path for pattern in listed("HOT") for path in PACKAGE.glob(pattern)}
