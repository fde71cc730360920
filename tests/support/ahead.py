"""The modules of the tests, rewritten once for all processes of a run.

pytest rewrites the assertions of a module, which takes three quarters of the time of a first collection, and keeps the
result on disk. Processes that collect side by side come to each module at the same moment, and would each do all of it.
"""

from __future__ import annotations

import contextlib
import importlib
import os

import pytest

from tests.support import ROOT

__all__ = ["import_a_share", "share", "test_modules"]


def test_modules() -> list[str]:
    """The names by which pytest imports the modules of tests."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


def share(number: int, count: int) -> list[str]:
    """One of `count` shares of the modules, each with some of every folder."""
    return test_modules()[number::count]


def import_a_share(config: pytest.Config) -> None:
    """In a process of xdist that is to run all tests: imports what no other imports now, for the collection to find."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    for name in share(int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])):
        # What cannot be imported, or skips itself, does so again when it is collected, and is told then.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(name)
