"""Log lines that could not be written are counted, and told of when that can be."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from mpzmq.common.stderr_log import UNWRITTEN, StderrHandler
from tests.support.full_disk import Disk

if TYPE_CHECKING:
    import pytest


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("mpzmq.test", logging.INFO, __file__, 1, text, args, None)


def test_what_a_full_disk_does_not_take_is_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, before = Disk(), UNWRITTEN.count
    monkeypatch.setattr(sys, "stderr", disk)
    handler = StderrHandler()
    handler.handle(record("one"))
    disk.is_full = True
    for _ in range(3):
        handler.handle(record("lost"))
    assert UNWRITTEN.count == before + 3
    disk.is_full = False
    handler.handle(record("two"))
    handler.handle(record("three"))
    told = "3 lines could not be written here in time: No space left on device"
    assert disk.getvalue().splitlines() == ["one", "two", told, "three"]


def test_a_line_that_cannot_be_made_is_shown_as_logging_does(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, before = Disk(), UNWRITTEN.count
    monkeypatch.setattr(sys, "stderr", disk)
    StderrHandler().handle(record("%d", "no number"))
    assert "--- Logging error ---" in disk.getvalue() and UNWRITTEN.count == before
