"""How the demo shows itself: a live table on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from ...models import LinkState
from ..layout import table_lines
from ..live_tables import can_draw, new_table, style_of_state
from ..outcome import CommandFailed
from ..output import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.console import Console
    from rich.table import Table

    from .report import Book, Moment, Report, Row

__all__ = ["Display", "choose"]

LATEST = 500
"""Answers that the percentiles of the live table are about."""

PICTURE_WIDTH = 104
"""Columns of the picture: the longest line of the demo fits."""

UNBOUNDED = 1000
"""Columns for which a table is measured, to see whether it fits into the terminal."""

_HEADINGS = ("container", "requests", "answered", "failed", "executed", "reconnects")

# What an event is called on a terminal: the state to which it led, or what the demo did.
_WORDS = {
    "LinkUp": "ALIVE",
    "LinkBusy": "BUSY",
    "LinkDown": "DOWN",
    "LinkRetry": "redial",
    "LinkFailed": "FAILED",
    "Started": "started",
    "Killed": "killed",
    "Restarted": "restart",
    "Traffic": "traffic",
}
_DEED = "bold magenta"
"""How it is drawn what the demo did."""


class Display(Protocol):
    """What the demo tells its display."""

    interval: float | None
    """Seconds between two calls of :meth:`refresh`; None: it wants none."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def happened(self, moment: Moment) -> None:
        """Something happened."""

    def refresh(self, rows: Sequence[Row]) -> None:
        """This is how things are."""

    def finish(self, report: Report) -> None:
        """This is how it went."""


def choose(*, as_json: bool, svg: str | None = None) -> Display:
    """The display for this process's stdout, or one that draws a picture into a file."""
    if svg is not None:
        return PictureDisplay(svg)
    if as_json:
        return JsonDisplay()
    return LiveDisplay() if can_draw() else PlainDisplay()


# Words that the plain and the live display share


def _microseconds(encoding: str | None) -> str:
    return "µs" if "utf" in (encoding or "").lower() else "us"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _headings(unit: str) -> tuple[str, ...]:
    return (*_HEADINGS, f"p50 {unit}", f"p99 {unit}")


def _cells(book: Book) -> list[tuple[str, ...]]:
    """The rows of one container: itself, and one for each way in which its requests failed."""
    p50, p99 = book.percentiles()
    counts = (_number(book.requests), _number(book.answered), _number(book.failed))
    rows: list[tuple[str, ...]] = [(book.name, *counts, "", _number(book.reconnects), _number(p50), _number(p99))]
    for (error, executed), count in book.failures.most_common():
        rows.append((f"  {error}", "", "", _number(count), str(executed), "", "", ""))
    return rows


def _conclusion(report: Report) -> list[str]:
    total = report.total
    ends = f"{total.answered:,} answered + {total.failed:,} failed + {total.cancelled:,} cancelled"
    down, up = _duration(report.down_after), _duration(report.up_after)
    return [
        f"{total.requests:,} requests = {ends}",
        f"{report.killed} was DOWN {down} after SIGKILL, and ALIVE {up} after it was started again",
        f"the demo took {report.seconds:.1f} s",
    ]


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _word(moment: Moment) -> str:
    word = _WORDS.get(moment.event, "")
    return f"{word} {moment.facts['attempt']}" if moment.event == "LinkRetry" else word


class _Quiet:
    """A display that has nothing to open and nothing to refresh."""

    interval: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def happened(self, moment: Moment) -> None:
        """Not shown."""

    def refresh(self, rows: Sequence[Row]) -> None:
        """Not shown."""


class JsonDisplay(_Quiet):
    """One document at the end, and nothing else."""

    def finish(self, report: Report) -> None:
        """Prints the document."""
        say(json.dumps(report.as_json(), indent=2))


class PlainDisplay(_Quiet):
    """One line for each event, then the table."""

    def happened(self, moment: Moment) -> None:
        """Prints one line."""
        who = moment.container or "demo"
        say(f"{moment.seconds:6.3f} s  {who:<11}  {_word(moment):<8}  {moment.text}")

    def finish(self, report: Report) -> None:
        """Prints the table."""
        unit = _microseconds(getattr(sys.stdout, "encoding", None))
        table = [_headings(unit)]
        for book in (*report.books, report.total):
            table += _cells(book)
        say("")
        for line in table_lines(table):
            say(line)
        say("")
        for line in _conclusion(report):
            say(line)


class LiveDisplay:
    """A table that changes in place, under a growing list of events."""

    interval: float | None = 0.2

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._unit = _microseconds(self._console.encoding)
        # Refreshed by the demo, in its own event loop: no thread of rich's gets in the way of what is measured.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def happened(self, moment: Moment) -> None:
        """Prints one line above the table."""
        self._console.print(_line(moment))

    def refresh(self, rows: Sequence[Row]) -> None:
        """Draws the table anew."""
        self._live.update(_live_table(self._console, rows, self._unit), refresh=True)

    def finish(self, report: Report) -> None:
        """Puts the final table in the place of the live one."""
        self._live.stop()
        _print_report(self._console, report, self._unit)


class PictureDisplay(_Quiet):
    """What a terminal would have shown at the end, as an SVG in a file."""

    def __init__(self, path: str) -> None:
        from rich.console import Console

        self._path = path
        self._console = Console(
            record=True, file=io.StringIO(), width=PICTURE_WIDTH, force_terminal=True, highlight=False
        )

    def happened(self, moment: Moment) -> None:
        """Draws one line."""
        self._console.print(_line(moment))

    def finish(self, report: Report) -> None:
        """Draws the final table, and writes the file."""
        _print_report(self._console, report, "µs")
        # Without rich's fonts from a server far away: a picture loads nothing.
        picture = re.sub(r"@font-face \{.*?\}", "", self._console.export_svg(title="mpzmq demo"), flags=re.DOTALL)
        try:
            Path(self._path).write_text("\n".join(map(str.rstrip, picture.splitlines())) + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandFailed(f"cannot write {self._path}: {error.strerror}") from None


def _print_report(console: Console, report: Report, unit: str) -> None:
    table = _final_table(report, unit)
    console.print()
    console.print(table if _fits(console, table) else _final_list(report, unit))
    console.print()
    for line in _conclusion(report):
        console.print(line)


def _line(moment: Moment) -> Table:
    """One event; where the terminal is narrow, its text goes on below itself."""
    from rich.table import Table
    from rich.text import Text

    word = _word(moment)
    line = Table.grid(padding=(0, 2, 0, 0))
    for width in (8, 11, len("redial 10")):
        line.add_column(no_wrap=True, min_width=width)
    line.add_column(overflow="fold")
    colour = _DEED if word in ("killed", "restart") else style_of_state(word) or "dim"
    line.add_row(
        Text(f"{moment.seconds:6.3f} s", "dim"), Text(moment.container or "demo"), Text(word, colour), Text(moment.text)
    )
    return line


def _fits(console: Console, table: Table) -> bool:
    unbounded = console.options.update(width=UNBOUNDED)
    return console.measure(table, options=unbounded).maximum <= console.width


def _live_table(console: Console, rows: Sequence[Row], unit: str) -> Table:
    """As many columns as fit; the final report has the others."""
    from rich.text import Text

    headings: tuple[str, ...] = ("container", "state", *_HEADINGS[1:4], f"p50 {unit}", f"p99 {unit}", "reconnects")
    while True:
        table = new_table(headings, 2)
        for row in rows:
            book = row.book
            # Padded to the longest state, or the columns would move with it.
            state = Text(f"{row.state:<{len(LinkState.CONNECTING)}}", style=style_of_state(row.state))
            counts = (book.requests, book.answered, book.failed, *book.percentiles(LATEST), book.reconnects)
            shown = counts[: len(headings) - 2]
            table.add_row(book.name, state, *(f"{_number(count):>7}" for count in shown))
        if len(headings) == 2 or _fits(console, table):
            return table
        headings = headings[:-1]


def _final_table(report: Report, unit: str) -> Table:
    table = new_table(_headings(unit), 1)
    for book in report.books:
        row, *reasons = _cells(book)
        table.add_row(*row)
        for reason in reasons:
            table.add_row(*reason, style="red")
    table.add_row()
    for number, cells in enumerate(_cells(report.total)):
        table.add_row(*cells, style="red" if number else "bold")
    return table


def _final_list(report: Report, unit: str) -> Table:
    """The same for a terminal on which the table does not fit: nothing of it is cut."""
    from rich.table import Table
    from rich.text import Text

    found = Table.grid(padding=(0, 2, 0, 0))
    found.add_column(no_wrap=True)
    found.add_column(overflow="fold")
    for book in (*report.books, report.total):
        p50, p99 = book.percentiles()
        counts = f"{book.requests:,} requests, {book.answered:,} answered, {book.failed:,} failed"
        found.add_row(Text(book.name, "bold"), counts)
        for (error, executed), count in book.failures.most_common():
            found.add_row("", Text(f"{count:,} {error}, executed {executed}", "red"))
        found.add_row("", f"{book.reconnects:,} reconnects, p50 {_number(p50)} {unit}, p99 {_number(p99)} {unit}")
    return found
