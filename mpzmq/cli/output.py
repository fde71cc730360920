"""How a command writes, and the codes with which it exits."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
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
    "give_up_stdout",
    "has_stdout",
    "need_stdout",
    "print_error",
    "say",
    "say_json",
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


_NOT_ASCII = re.compile("[^\n -~]")


def has_stdout() -> bool:
    """Whether there is a stdout: the caller may have closed it (``>&-``)."""
    return sys.stdout is not None


def need_stdout() -> None:
    """Ends a command whose output would be lost, before it does anything.

    Raises:
        OutputLost: there is no stdout.
    """
    if not has_stdout():
        raise OutputLost(OSError(errno.EBADF, "it is closed"))


def say(text: str) -> None:
    """One line of data, on stdout, at once. What its encoding does not have is escaped.

    Raises:
        OutputLost: stdout takes nothing, or is closed.
    """
    need_stdout()
    try:
        try:
            print(text, flush=True)
        except UnicodeEncodeError as error:
            print(text.encode(error.encoding, "backslashreplace").decode(error.encoding), flush=True)
    except OSError as error:
        raise OutputLost(error) from None


def say_json(text: str) -> None:
    """The same of a JSON document: what is escaped stays JSON, and a terminal has nothing in it to obey.

    Raises:
        OutputLost: stdout takes nothing, or is closed.
    """
    say(_NOT_ASCII.sub(_shown, text))


def print_error(text: str) -> None:
    """One line for whoever runs the command, on stderr."""
    if sys.stderr is not None:  # print() would take stdout in its place
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def give_up_stdout() -> None:
    """What is still buffered goes nowhere: Python flushes at exit, and would complain of the same error again."""
    if has_stdout():
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        with contextlib.suppress(UnicodeEncodeError, LookupError):
            character.encode(getattr(sys.stdout, "encoding", None) or "ascii")
            return character
    return json.dumps(character)[1:-1] if ord(character) > 0x7F else f"\\u{ord(character):04x}"
