"""How a command writes, and the codes with which it exits."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

__all__ = [
    "BAD_KEYS",
    "BROKEN_PIPE",
    "CANNOT_BIND",
    "FAILED",
    "INSECURE",
    "INTERRUPTED",
    "MISSING_EXTRA",
    "NOT_JSON",
    "NOT_SERVING",
    "NO_SERVER",
    "OK",
    "TERMINATED",
    "TIMEOUT",
    "UNREACHABLE",
    "USAGE",
    "OutputLost",
    "complain",
    "give_up_stdout",
    "printable",
    "say",
]

OK = 0
FAILED = 1
UNREACHABLE = 2
TIMEOUT = 3
NOT_SERVING = 4
USAGE = 64  # from here on as sysexits.h has them
NOT_JSON = 65
NO_SERVER = 66
MISSING_EXTRA = 69
CANNOT_BIND = 71
INSECURE = 77
BAD_KEYS = 78
INTERRUPTED = 130  # 128 and SIGINT, as shells count
BROKEN_PIPE = 141  # 128 and SIGPIPE
TERMINATED = 143  # 128 and SIGTERM


class OutputLost(Exception):
    """Stdout takes no more: its reader has gone, or the disk is full.

    An error of its own, because several errors of the library are an ``OSError`` too.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.is_broken_pipe = error.errno == errno.EPIPE


def say(text: str) -> None:
    """One line of data, on stdout, at once."""
    try:
        print(text, flush=True)
    except OSError as error:
        raise OutputLost(error) from None


def complain(text: str) -> None:
    """One line for whoever runs the command, on stderr."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """A text from elsewhere, on one line and without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def give_up_stdout() -> None:
    """What is still buffered goes nowhere: Python flushes at exit, and would complain of the same error again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
