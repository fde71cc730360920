"""Lines of others: whole, bounded, and harmless; and processors, shared out."""

from __future__ import annotations

import io
import os
import sys
import threading

import pytest

from mpzmq.fleets.cpus import share_of, usable_cpus, wanted_cpus
from mpzmq.fleets.output import MAX_LINE, MAX_WAITING, Lines, Output
from tests.support.full_disk import Disk
from tests.support.waiting import soon, until


def test_lines_are_put_together() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed("o ä"[:4].encode()[:-1]) == []
    assert lines.feed("ä".encode()[1:] + b"\r\n\nfour") == ["two ä", ""]
    assert lines.end() == ["four"]
    assert lines.end() == []


def test_one_that_never_ends_is_cut() -> None:
    lines = Lines()
    assert lines.feed(b"x" * (2 * MAX_LINE + 1)) == ["x" * MAX_LINE] * 2
    assert lines.feed(b"y\n") == ["xy"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        (b"50%\r100%", "50%\\r100%"),
        ("\u009b2J \u2028 \u200f".encode(), "\\x9b2J \\u2028 \\u200f"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a\tb", "a\tb"),
        ("日本".encode(), "日本"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(written: bytes, shown: str) -> None:
    assert Lines().feed(written + b"\n") == [shown]


class Stopped(io.StringIO):
    """A terminal that was stopped: who writes to it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.waits.set()
        self.goes_on.wait()
        return super().write(text)


async def test_what_nobody_reads_in_time_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Stopped()
    monkeypatch.setattr(sys, "stderr", terminal)
    output = Output()
    output.put("first")
    await until(terminal.waits.is_set)
    for number in range(MAX_WAITING + 50):
        output.put(str(number))
    terminal.goes_on.set()
    await until(lambda: terminal.getvalue().endswith(f"\n{MAX_WAITING - 1}\n"))
    output.put("last")
    await output.close()
    lines = terminal.getvalue().splitlines()
    assert lines[:2] == ["first", "0"] and len(lines) == MAX_WAITING + 3
    assert lines[-2:] == ["mpzmq: 50 lines were lost here: nobody has read them in time", "last"]


async def test_what_a_full_disk_does_not_take_is_told_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    monkeypatch.setattr(sys, "stderr", disk)
    disk.is_full = True
    output = Output()
    for _ in range(3):
        output.put("lost")
    await until(lambda: output._unwritten.count == 3)
    disk.is_full = False
    output.put("last")
    await output.close()
    told = "mpzmq: 3 lines could not be written here in time: No space left on device"
    assert disk.getvalue().splitlines() == ["last", told]


async def test_a_reader_who_never_comes_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Stopped()
    monkeypatch.setattr(sys, "stderr", terminal)
    output = Output()
    output.put("first")
    await until(terminal.waits.is_set)
    for number in range(MAX_WAITING + 5):
        output.put(str(number))
    await soon(output.close())
    terminal.goes_on.set()
    await soon(output._written)
    assert terminal.getvalue().endswith("mpzmq: 7 lines were lost here: nobody has read them in time\n")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are pinned on Linux only")
def test_processors() -> None:
    usable = usable_cpus()
    assert wanted_cpus("auto") == usable
    assert wanted_cpus(f"{usable[0]}, {usable[-1]}") == sorted({usable[0], usable[-1]})
    for text, told in [
        ("", "names no processors"),
        ("1-", "names no processors"),
        ("-1", "names no processors"),
        ("²", "names no processors"),
        ("3-1", "goes backwards"),
        ("0-1000000000", "processor 1000000000 cannot be used here"),
    ]:
        with pytest.raises(ValueError, match=told):
            wanted_cpus(text)


@pytest.mark.parametrize(
    ("count", "cpus", "shares"),
    [
        (2, [0, 1, 2, 3], [[0, 1], [2, 3]]),
        (3, [0, 1, 2, 3], [[0], [1], [2, 3]]),
        (4, [5, 7], [[5], [7], [5], [7]]),
        (2, [], [[], []]),
    ],
)
def test_shares(count: int, cpus: list[int], shares: list[list[int]]) -> None:
    assert [share_of(number, count, cpus) for number in range(count)] == shares
