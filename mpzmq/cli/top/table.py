"""The table of ``mpzmq top``: rows, sorted and as wide as there is room, as text and for rich."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...common.text import printable
from ..layout import GAP, table_lines
from ..stats import in_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rich.table import Table

    from .rates import Figures

__all__ = ["SORTS", "Row", "View", "document", "legend", "notes", "plain_table", "rich_table", "sparkline"]

_CELLS = {
    "container": 9,
    "state": 8,
    "age": 4,
    "rtt": 7,
    "trend": 8,
    "in flight": 9,
    "req/s": 6,
    "err/s": 5,
    "p50": 7,
    "p99": 7,
}
"""The columns, and how wide each is at least: else all of them would move with every number."""

_LEFT = 2
"""Columns whose text begins at the left."""

_DISPENSABLE = ("p50", "trend", "rtt", "in flight", "age", "p99", "err/s", "req/s")
"""What goes where there is no room, the least important first."""

_LEVELS = "▁▂▃▄▅▆▇█"

_HOUR, _MINUTE = 3600, 60


@dataclass(frozen=True, slots=True)
class Row:
    """One container.

    Attributes:
        name: what it is called in its source.
        state: of its link.
        status: its run state, as last heard.
        rtt: seconds of the last round trip.
        trend: the last ones, None where there was none.
        figures: its numbers; None: it has told none.
        functions: the same by function.
        age: of these numbers in seconds, if they are not of now.
        why: why there are none, or why it cannot be talked to.
    """

    name: str
    state: str
    status: str | None = None
    rtt: float | None = None
    trend: tuple[float | None, ...] = ()
    figures: Figures | None = None
    functions: Mapping[str, Figures] = dataclasses.field(default_factory=dict, hash=False)
    age: float | None = None
    why: str | None = None

    @property
    def shown_state(self) -> str:
        """The state in one word: a container that is reachable and stopped is stopped."""
        return self.status if self.state == "ALIVE" and self.status == "STOP" else self.state


@dataclass(frozen=True, slots=True)
class _Sort:
    """What rows can be sorted by: the key of the keyboard, and what is compared; the largest number comes first."""

    key: str
    of_row: Callable[[Row], float | None]
    of_figures: Callable[[Figures], float | None]


def _of_figures(key: str, value: Callable[[Figures], float | None]) -> _Sort:
    return _Sort(key, lambda row: None if row.figures is None else value(row.figures), value)


SORTS = {
    "name": _Sort("n", lambda row: None, lambda figures: None),
    "requests": _of_figures("r", lambda figures: figures.requests),
    "errors": _of_figures("e", lambda figures: figures.errors),
    "in-flight": _of_figures("i", lambda figures: figures.in_flight),
    "p99": _of_figures("p", lambda figures: figures.p99),
    "rtt": _Sort("t", lambda row: row.rtt, lambda figures: None),
}
"""By what containers can be sorted. What has no such number, and what is equal, is sorted by name."""


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at.

    Attributes:
        sort: one of `SORTS`.
        by_function: whether each function has a row.
    """

    sort: str = "name"
    by_function: bool = False

    def pressed(self, key: str) -> View:
        """The view behind a key; the same one, if that has no meaning."""
        if key == "f":
            return dataclasses.replace(self, by_function=not self.by_function)
        chosen = next((name for name, sort in SORTS.items() if sort.key == key), self.sort)
        return dataclasses.replace(self, sort=chosen)


def legend(view: View) -> str:
    """The keys, in one line."""
    sorts = " ".join(f"{sort.key} {'*' if name == view.sort else ''}{name}" for name, sort in SORTS.items())
    return f"q quit  f {'containers' if view.by_function else 'functions'}  sort: {sorts}"


def notes(rows: Iterable[Row]) -> list[str]:
    """Why there are no numbers, a line for each container that has none."""
    return [printable(f"{row.name}: {row.why}") for row in rows if row.why is not None]


def plain_table(rows: Iterable[Row], view: View, width: int | None) -> list[str]:
    """The table as lines, without their changes: what is printed is of one moment.

    Args:
        rows: the containers.
        view: how they are looked at.
        width: columns that there are; None: any number.
    """
    lines = _lines(rows, view, width)
    columns = _fitting(lines, width, without={"trend"})
    return table_lines([columns, *([line.cells.get(column, "") for column in columns] for line in lines)], _LEFT)


def rich_table(rows: Iterable[Row], view: View, width: int, *, unicode: bool = True) -> Table:
    """The table for a terminal.

    Args:
        rows: the containers.
        view: how they are looked at.
        width: columns that there are.
        unicode: whether it can show more than ASCII.
    """
    from rich.text import Text

    from ..live_tables import new_table, style_of_state

    lines = _lines(rows, view, width)
    columns = _fitting(lines, width, without=set() if unicode else {"trend"})
    table = new_table(columns, _LEFT, GAP)
    for column, shown in zip(columns, table.columns, strict=True):
        shown.min_width = min(_CELLS[column], width)
        if column == "trend":
            shown.justify = "left"  # rich takes the gaps at its end away from what stands to the right
    for line in lines:
        cells = {column: Text(line.cells.get(column, "")) for column in columns}
        cells["state"].stylize(style_of_state(line.cells.get("state", "")))
        if "err/s" in cells and line.has_errors:
            cells["err/s"].stylize("red")
        table.add_row(*cells.values(), style="dim" if line.is_old else None)
    return table


def document(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The containers as JSON has them, times in seconds."""
    return [
        {
            "name": row.name,
            "state": row.state,
            "status": row.status,
            "rtt": row.rtt,
            "age": row.age,
            "figures": None if row.figures is None else dataclasses.asdict(row.figures),
            "functions": {name: dataclasses.asdict(one) for name, one in row.functions.items()},
            "why": row.why,
        }
        for row in rows
    ]


def sparkline(values: Sequence[float | None]) -> str:
    """Numbers as bars, the highest of them as high as there is; a gap for what is missing."""
    highest = max((value for value in values if value is not None), default=0.0)
    if highest <= 0:
        return " " * len(values)
    steps = len(_LEVELS) - 1
    return "".join(" " if value is None else _LEVELS[max(0, round(value / highest * steps))] for value in values)


# Inside


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the table."""

    cells: dict[str, str]
    has_errors: bool
    is_old: bool


def _in_order(rows: Iterable[Row], view: View) -> list[Row]:
    """The containers, sorted."""
    return sorted(rows, key=lambda row: (_descending(SORTS[view.sort].of_row(row)), row.name))


def _descending(number: float | None) -> float:
    return math.inf if number is None else -number


def _lines(rows: Iterable[Row], view: View, width: int | None) -> list[_Line]:
    lines = []
    for row in _in_order(rows, view):
        is_old = row.age is not None
        cells = {
            "container": _short(printable(row.name), width),
            "state": row.shown_state,
            "age": "" if row.age is None else _age(row.age),
            "rtt": in_milliseconds(row.rtt),
            "trend": sparkline(row.trend).rjust(_CELLS["trend"]),
        }
        if row.figures is None:
            numbers, has_errors = dict.fromkeys(("in flight", "req/s", "err/s", "p50", "p99"), "-"), False
        else:
            numbers, has_errors = _numbers(row.figures), bool(row.figures.errors)
        lines.append(_Line(cells | numbers, has_errors, is_old))
        if view.by_function:
            value = SORTS[view.sort].of_figures
            named = sorted(row.functions.items(), key=lambda item: (_descending(value(item[1])), item[0]))
            for name, figures in named:
                shown = {"container": _short(f"  {printable(name)}", width)}
                lines.append(_Line(shown | _numbers(figures), bool(figures.errors), is_old))
    return lines


def _numbers(figures: Figures) -> dict[str, str]:
    return {
        "in flight": _number(figures.in_flight),
        "req/s": _rate(figures.requests),
        "err/s": _rate(figures.errors),
        "p50": in_milliseconds(figures.p50),
        "p99": in_milliseconds(figures.p99),
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.3g}"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if 0 < abs(value) < 9.95 else _number(value)


def _age(seconds: float) -> str:
    for unit, size in (("h", _HOUR), ("m", _MINUTE)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _short(name: str, width: int | None) -> str:
    """A name that leaves room for numbers: names differ at their beginnings, addresses at their ends."""
    most = len(name) if width is None else max(15, width // 3)
    if len(name) <= most:
        return name
    end = (most - 3) // 2
    return f"{name[: most - 3 - end]}...{name[-end:]}"


def _fitting(lines: Sequence[_Line], width: int | None, without: set[str]) -> list[str]:
    """The columns that have something to show, as many of them as there is room for."""
    if not any(line.is_old for line in lines):
        without = without | {"age"}
    columns = [column for column in _CELLS if column not in without]
    for column in _DISPENSABLE:
        if width is None or sum(_width(one, lines) + GAP for one in columns) - GAP <= width:
            break
        if column in columns:
            columns.remove(column)
    return columns


def _width(column: str, lines: Sequence[_Line]) -> int:
    from rich.cells import cell_len

    widths = (cell_len(line.cells.get(column, "")) for line in lines)
    return max(_CELLS[column], *widths) if lines else _CELLS[column]
