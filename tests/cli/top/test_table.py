"""The table of ``mpzmq top``, for every width and order."""

from __future__ import annotations

import io
import json

import pytest
from rich.cells import cell_len
from rich.console import Console

from mpzmq.cli.top.rates import Figures
from mpzmq.cli.top.table import SORTS, Row, View, document, legend, notes, plain_table, rich_table, sparkline

ALL = ["container", "state", "age", "rtt", "trend", "in flight", "req/s", "err/s", "p50", "p99"]
BUSY = Row(
    "127.0.0.1:3011", "BUSY", "RUNNING", 0.002, (0.001, None, 0.002), Figures(12, 3.5, 0.0, 0.01, 1.25), age=12.4
)
FAST = Row(
    "127.0.0.1:3010",
    "ALIVE",
    "RUNNING",
    0.0005,
    (0.0005,),
    Figures(1, 1234.4, 2.0, 0.0001, 0.02),
    {"add": Figures(0, 1200.0, 0.0, 0.0001, 0.002), "nap": Figures(1, 34.4, 2.0, 0.01, 0.02)},
)
MUTE = Row("127.0.0.1:3012", "ALIVE", "STOP", 0.001, why="NotPermitted: no stats for you")
ROWS = [BUSY, FAST, MUTE]


def drawn(width: int, view: View | None = None, rows: list[Row] | None = None, **options: bool) -> list[str]:
    """What a terminal of that width shows."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(rich_table(ROWS if rows is None else rows, view or View(), width, **options))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def names(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines[1:]]


def test_the_table_as_text() -> None:
    assert plain_table(ROWS, View(by_function=True), None) == [
        "container       state   age     rtt  in flight  req/s  err/s     p50     p99",
        "127.0.0.1:3010  ALIVE        0.5 ms          1  1,234    2.0  0.1 ms   20 ms",
        "  add                                        0  1,200      0  0.1 ms    2 ms",
        "  nap                                        1     34    2.0   10 ms   20 ms",
        "127.0.0.1:3011  BUSY   12 s    2 ms         12    3.5      0   10 ms  1.25 s",
        "127.0.0.1:3012  STOP           1 ms          -      -      -       -       -",
    ]
    assert notes(ROWS) == ["127.0.0.1:3012: NotPermitted: no stats for you"]


@pytest.mark.parametrize("width", [1, 10, 20, 40, 60, 80, 120])
def test_it_fits(width: int) -> None:
    for view in (View(), View(by_function=True)):
        assert all(cell_len(line) <= width for line in drawn(width, view))


@pytest.mark.parametrize(
    ("width", "missing"),
    [
        (130, set()),
        (80, {"trend", "p50"}),
        (60, {"trend", "p50", "rtt", "in flight"}),
        (40, {"trend", "p50", "rtt", "in flight", "age", "p99"}),
        (25, set(ALL[2:])),
    ],
)
def test_what_matters_least_goes_first(width: int, missing: set[str]) -> None:
    head = drawn(width)[0]
    assert [name for name in ALL if name not in head] == [name for name in ALL if name in missing]
    assert "…" not in "".join(drawn(width))


def test_a_column_without_anything_is_not_shown() -> None:
    assert "age" in drawn(120)[0]
    assert "age" not in drawn(120, rows=[FAST, MUTE])[0]
    assert "trend" not in drawn(120, unicode=False)[0]
    assert drawn(120, rows=[])[0].split()[0] == "container"


@pytest.mark.parametrize(
    ("key", "order"),
    [("n", "0 1 2"), ("r", "0 1 2"), ("e", "0 1 2"), ("i", "1 0 2"), ("p", "1 0 2"), ("t", "1 2 0"), ("x", "0 1 2")],
)
def test_the_order(key: str, order: str) -> None:
    found = names(drawn(120, View().pressed(key)))
    assert [name[-1] for name in found] == order.split()


def test_keys() -> None:
    assert {sort.key for sort in SORTS.values()} == set("nreipt")
    assert View().pressed("f") == View(by_function=True) and View().pressed("f").pressed("f") == View()
    assert View("p99").pressed("f").sort == "p99" and View("p99").pressed("x") == View("p99")
    assert names(drawn(120, View("p99", by_function=True)))[1:4] == ["127.0.0.1:3010", "nap", "add"]
    assert (
        "p *p99" in legend(View("p99")) and len(legend(View(by_function=True))) < 80 and "f functions" in legend(View())
    )
    assert "f containers" in legend(View(by_function=True))


def test_a_long_name_leaves_room_for_numbers() -> None:
    name = f"ipc:///run/{'calculators/' * 10}one.sock"
    lines = drawn(60, rows=[Row(name, "ALIVE", figures=FAST.figures)])
    assert lines[1].startswith("ipc:///ru...") and "ne.sock " in lines[1] and "1,234" in lines[1]
    assert name in plain_table([Row(name, "ALIVE")], View(), None)[1]


def test_nothing_that_a_container_says_reaches_the_terminal_as_it_is() -> None:
    odd = "\x1b[2J\n[red]x"
    row = Row(odd, "ALIVE", functions={odd: Figures(0, 1e300, -1e300, 1e300, None)}, figures=FAST.figures, why=odd)
    for lines in (drawn(200, View(by_function=True), [row]), plain_table([row], View(by_function=True), None)):
        assert len(lines) == 3 and all(r"\x1b[2J\n[red]x" in line for line in lines[1:])
        assert "1e+300" in lines[2] and max(map(len, lines)) < 160
    assert notes([row]) == [r"\x1b[2J\n[red]x: \x1b[2J\n[red]x"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [([], ""), ([None, None], "  "), ([0.0, 0.0], "  "), ([1.0, None, 7.0, 3.5], "▂ █▅"), ([0.001, 1.0], "▁█")],
)
def test_a_sparkline(values: list[float | None], shown: str) -> None:
    assert sparkline(values) == shown


def test_the_last_bar_is_of_now() -> None:
    for trend, shown in (((1.0, 0.5, None, None), "    █▅  "), ((1.0,) * 8, "████████"), ((1.0,), "       █")):
        head, line = drawn(130, rows=[Row("a", "BUSY", trend=trend)])
        end = head.index("trend") + 5 + 3 * ("trend   " in head)
        assert shown in line and line[end - 8 : end] == shown


@pytest.mark.parametrize(
    ("age", "shown"), [(1.6, "2 s"), (119.0, "119 s"), (150.0, "2 m"), (7100.0, "118 m"), (7300.0, "2 h")]
)
def test_an_age(age: float, shown: str) -> None:
    assert shown in plain_table([Row("a", "DOWN", age=age)], View(), None)[1]


def test_the_document() -> None:
    first, second = json.loads(json.dumps(document([FAST, MUTE]), allow_nan=False))
    assert first["functions"]["nap"] == {"in_flight": 1, "requests": 34.4, "errors": 2.0, "p50": 0.01, "p99": 0.02}
    assert (first["name"], first["figures"]["requests"], first["age"]) == ("127.0.0.1:3010", 1234.4, None)
    assert (second["status"], second["figures"], second["why"]) == ("STOP", None, "NotPermitted: no stats for you")
