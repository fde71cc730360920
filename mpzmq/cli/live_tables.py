"""Tables that change in place on a terminal, by rich."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .layout import on_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

__all__ = ["can_draw", "new_table", "style_of_state"]

_STYLES = {
    "ALIVE": "green",
    "BUSY": "yellow",
    "DRAINING": "yellow",
    "STOP": "yellow",
    "DOWN": "red",
    "FAILED": "bold red",
    "CONNECTING": "dim",
}


def can_draw() -> bool:
    """Whether stdout is a terminal on which something can be drawn anew."""
    return on_terminal() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def style_of_state(state: str) -> str:
    """How the state of a container is drawn."""
    return _STYLES.get(state, "")


def new_table(headings: Sequence[str], left: int, gap: int = 1) -> Table:
    """A table without rows.

    Args:
        headings: of its columns.
        left: columns of text; the others are of numbers, which stand to the right.
        gap: columns of the terminal between two.
    """
    from rich.table import Table

    # Without a box it fits into 80 columns.
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold underline")
    for column, heading in enumerate(headings):
        table.add_column(heading, justify="left" if column < left else "right", no_wrap=True)
    return table
