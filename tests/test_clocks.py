"""The time of day is read to be told, and for nothing else: whoever sets a clock harms nobody."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "mpzmq"

TELLING = {
    "admin/status.py",
    "engine/link_driver.py",
    "engine/group_state.py",
    "engine/lobby.py",
    "engine/worker_status.py",
}
"""Modules that say when something was, in an event or at an admin endpoint; and the one whose tokens have an end."""

OF_DAY = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "strftime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def readings(source: str) -> list[int]:
    """The lines that read the time of day."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [node.lineno for name in node.names if name.name in OF_DAY["time"]]
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if node.attr in OF_DAY.get(owner, ()):
                found.append(node.lineno)
    return found


def test_only_what_tells_the_time_of_day_reads_it() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if readings(path.read_text("utf-8"))
    }
    assert found == TELLING


def test_a_reading_is_found() -> None:
    source = """
import datetime, time
from time import monotonic, time_ns
time.monotonic()
time.time()
datetime.datetime.now()
loop.time()
"""
    assert readings(source) == [3, 5, 6]
