"""How lines are laid out: on a terminal as wide as it is; anywhere else they stay whole."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from .output import has_stdout, say

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GAP", "LEAST_WIDTH", "columns", "fits", "on_terminal", "say_wrapped", "table_lines"]

GAP = 2
"""Columns between two columns of a table."""

LEAST_WIDTH = 12
"""Columns that a text needs beside its prefix: on a narrower terminal its lines are left to break where they like."""


def on_terminal() -> bool:
    """Whether stdout is a terminal."""
    return has_stdout() and sys.stdout.isatty()


def columns() -> int:
    """How wide the terminal is."""
    return shutil.get_terminal_size().columns


def fits(line: str) -> bool:
    """Whether a line fits into the terminal; into what is none everything does."""
    return not on_terminal() or len(line) <= columns()


def say_wrapped(prefix: str, text: str) -> None:
    """A line that begins with a prefix; on a terminal the text goes on below itself, broken between words.

    Raises:
        OutputLost: stdout takes nothing, or is closed.
    """
    if fits(prefix + text) or columns() - len(prefix) < LEAST_WIDTH:
        say(prefix + text)
        return
    lines = textwrap.wrap(text, columns() - len(prefix), break_long_words=False, break_on_hyphens=False)
    say(prefix + f"\n{' ' * len(prefix)}".join(lines))


def table_lines(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """A table as lines: text to the left, numbers to the right.

    Args:
        rows: its cells, those of the headings first.
        left: columns of text.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (" " * GAP)
        .join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in rows
    ]
