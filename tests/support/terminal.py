"""A terminal for a command that runs beside a test."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from typing import Any

ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38|48)[;m]")
STYLE = re.compile(r"\x1b\[[\d;]*m")


class Terminal:
    """A terminal for a command; reads what the command writes.

    Args:
        width: its columns.
    """

    def __init__(self, width: int = 80) -> None:
        self._ours, self.theirs = pty.openpty()
        self.resize(width)
        self.text = ""

    def resize(self, width: int) -> None:
        """Changes its columns."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))

    def mode(self) -> list[Any]:
        """How it treats what is typed."""
        return termios.tcgetattr(self._ours)

    def type(self, text: str) -> None:
        """Types something."""
        os.write(self._ours, text.encode())

    def read(self, until: str | None = None, start: int = 0) -> None:
        """Reads until a text has come, or to the end.

        Args:
            until: the text; None: the end.
            start: where in all that has come it is looked for first.
        """
        while until is None or until not in STYLE.sub("", self.text[start:]):
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # Linux: EIO when the last one has closed the other side
                return
            if not data:
                return
            self.text += data.decode(errors="replace")

    def hand_over(self) -> None:
        """Only the command has the other side now, so that its end is seen."""
        os.close(self.theirs)

    def close(self) -> None:
        """Ends it."""
        os.close(self._ours)
