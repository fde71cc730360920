"""What the demo shows: played once, and told to every display."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import pty
import re
import sys
from typing import TYPE_CHECKING, Any, Self
from xml.etree import ElementTree

import pytest
from rich.console import Console

from mpzmq import LinkState
from mpzmq.cli.demo.command import NAMES, Demo
from mpzmq.cli.demo.display import (
    Display,
    JsonDisplay,
    LiveDisplay,
    PictureDisplay,
    PlainDisplay,
    _live_table,
    choose,
)
from mpzmq.cli.demo.report import Book, Row
from tests.support.commands import survivors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mpzmq.cli.demo.report import Moment, Report

SERVES = re.compile(r"(container-\d) +started +process \d+ serves on 127\.0\.0\.1:\d+")


class Recorder:
    """A display that keeps what it is told, for others."""

    interval: float | None = None

    def __init__(self) -> None:
        self._told: list[Callable[[Display], None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to close."""

    def happened(self, moment: Moment) -> None:
        self._told.append(lambda display: display.happened(moment))

    def refresh(self, rows: Sequence[Row]) -> None:
        raise AssertionError("it wants none")

    def finish(self, report: Report) -> None:
        self._told.append(lambda display: display.finish(report))

    def tell(self, display: Display) -> None:
        """Tells another display the same."""
        with display:
            for tell in self._told:
                tell(display)


@pytest.fixture(scope="module")
def played() -> Recorder:
    recorder = Recorder()
    report, faults = asyncio.run(Demo(recorder).run())
    recorder.finish(report)
    assert faults == []
    return recorder


@pytest.fixture
def document(played: Recorder, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What ``--json`` prints."""
    played.tell(JsonDisplay())
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def check_sums(row: dict[str, Any]) -> None:
    assert row["requests"] == row["answered"] + row["failed"] + row["cancelled"]
    assert row["failed"] == sum(failure["count"] for failure in row["failures"])


def test_json(document: dict[str, Any]) -> None:
    assert set(document) == {
        *("version", "seconds", "killed", "down_after_seconds", "up_after_seconds", "events", "containers", "total")
    }
    rows, total = document["containers"], document["total"]
    assert [row["name"] for row in rows] == [*NAMES]
    for row in (*rows, total):
        check_sums(row)
        assert row["cancelled"] == 0
        assert 0 < row["p50_us"] <= row["p99_us"]
    for counter in ("requests", "answered", "failed", "cancelled", "reconnects"):
        assert total[counter] == sum(row[counter] for row in rows)

    pids = [pid for row in rows for pid in row["pids"]]
    assert len(set(pids)) == len(NAMES) + 1
    assert survivors(pids) == []


def test_json_tells_of_one_death_and_one_return(document: dict[str, Any]) -> None:
    events, killed = document["events"], document["killed"]
    assert all(earlier["seconds"] <= later["seconds"] for earlier, later in itertools.pairwise(events))

    victims = [event for event in events if event.get("container") == killed]
    story = [
        event["event"]
        for event in victims
        if event["event"] in ("Killed", "LinkDown", "Restarted") or event.get("reconnected")
    ]
    assert story == ["Killed", "LinkDown", "Restarted", "LinkUp"]
    others = {event["event"] for event in events if event.get("container") not in (killed, None)}
    assert not others & {"Killed", "LinkDown", "Restarted", "LinkFailed"}

    row = next(row for row in document["containers"] if row["name"] == killed)
    assert row["reconnects"] == 1
    assert len(row["pids"]) == 2
    failures = {(failure["error"], failure["executed"]): failure["count"] for failure in row["failures"]}
    assert failures["NotConnected", "NO"] > 0
    # What it worked on when it was killed. Whether a handler had begun, the engine may know or not; never "NO".
    lost = {executed for error, executed in failures if error == "ConnectionLost"}
    assert lost
    assert lost <= {"UNKNOWN", "YES"}


def test_plain(played: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    played.tell(PlainDisplay())
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert [found[1] for found in SERVES.finditer(shown)] == [*NAMES, "container-2"]
    order = ["container-2  killed", "container-2  DOWN", "container-2  restart", "container-2  ALIVE", "requests ="]
    place = 0
    for text in order:
        place = shown.index(text, place)
    table = shown[shown.index("\ncontainer ") :]
    assert re.search(r"^container +requests +answered +failed +executed +reconnects +p50 .s +p99 .s$", table, re.M)
    assert re.search(r"^  NotConnected +[\d,]+ +NO$", table, re.M)
    assert re.search(r"^total +[\d,]+ +[\d,]+ +[\d,]+ +1 +[\d,]+ +[\d,]+$", table, re.M)


def test_a_picture_is_drawn(played: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "demo.svg"
    played.tell(PictureDisplay(str(picture)))
    assert capsys.readouterr() == ("", "")
    text = picture.read_text("utf-8")
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert all(name in text for name in NAMES)
    assert "font-face" not in text


@pytest.mark.parametrize(
    ("options", "term", "display"),
    [
        ({}, "xterm", LiveDisplay),
        ({}, "dumb", PlainDisplay),
        ({}, None, PlainDisplay),
        ({"as_json": True}, "xterm", JsonDisplay),
        ({"as_json": True, "svg": "demo.svg"}, "xterm", PictureDisplay),
    ],
)
def test_a_terminal_gets_what_it_can_show(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], term: str | None, display: type[Display]
) -> None:
    if term is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", term)
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert type(choose(**{"as_json": False, **options})) is display
        monkeypatch.undo()
    os.close(ours)


def test_who_has_closed_stdout_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert type(choose(as_json=False)) is PlainDisplay


@pytest.mark.parametrize("columns", [60, 80])
def test_nothing_is_cut_on_a_terminal(played: Recorder, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    told = io.StringIO()
    monkeypatch.setattr(sys, "stdout", told)
    played.tell(LiveDisplay())
    monkeypatch.undo()
    lines = [re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", line).rstrip() for line in told.getvalue().splitlines()]
    assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    assert "…" not in text
    assert re.search(r"[\d,]+ NotConnected, executed NO|  NotConnected +[\d,]+ +NO", text)
    assert re.search(r"ConnectionLost(, executed)? +.*(UNKNOWN|YES)", text)
    assert re.search(r"process \d+ serves on(\n {30,})? *127\.0\.0\.1:\d+$", text, re.M)


@pytest.mark.parametrize(("columns", "shown"), [(40, "answered"), (60, "p50 us"), (80, "reconnects")])
def test_the_live_table_has_what_fits(columns: int, shown: str) -> None:
    console = Console(width=columns, file=io.StringIO())
    book = Book("container-2", requests=12_345, answered=12_000, latencies=[123_456])
    console.print(_live_table(console, [Row(book, LinkState.CONNECTING)] * 3, "us"))
    head, *rows = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert head.rstrip().endswith(shown) and "…" not in head
    assert len(rows) == 3 and all("12,345" in row for row in rows)
