"""Log lines on standard error, and those that could not be written there: of a full disk no log can tell."""

from __future__ import annotations

import logging
import sys
from typing import Final

__all__ = ["UNWRITTEN", "StderrHandler", "UnwrittenLines"]


class UnwrittenLines:
    """Counts those of this process.

    Attributes:
        count: all of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self._untold = 0
        self._why = ""

    def add(self, error: OSError) -> None:
        """One more could not be written."""
        self.count += 1
        self._untold += 1
        self._why = error.strerror or str(error)

    def told(self) -> str | None:
        """What the first line behind them says; None: there is nothing to say."""
        untold, self._untold = self._untold, 0
        return f"{untold} lines could not be written here in time: {self._why}" if untold else None


UNWRITTEN: Final = UnwrittenLines()


class StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error, and counts what cannot be written."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line; the first behind some that were lost is followed by one that says so."""
        before = UNWRITTEN.count
        super().emit(record)
        if UNWRITTEN.count == before and (text := UNWRITTEN.told()) is not None:
            about = logging.LogRecord("mpzmq.log", logging.WARNING, __file__, 0, text, None, None)
            for one in self.filters:
                one(about) if callable(one) else one.filter(about)
            super().emit(about)

    def handleError(self, record: logging.LogRecord) -> None:
        """A line could not be written, or made."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            UNWRITTEN.add(error)
        else:
            super().handleError(record)
