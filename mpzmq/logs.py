"""The loggers of the package, whose calls cannot raise."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import Any

__all__ = ["Log"]

_Failure = BaseException | bool | None


class Log:
    """A logger of :mod:`logging`, used so that a filter or a handler of the application may fail.

    Such a failure is shown on standard error, as logging shows that of its own handlers, and whoever logged goes on: a
    line of the log is never worth a reply.

    Args:
        name: of the logger, that of the module.
    """

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, text: str, *args: object) -> None:
        """One line of that level."""
        self._write(logging.DEBUG, text, args)

    def info(self, text: str, *args: object) -> None:
        """One line of that level."""
        self._write(logging.INFO, text, args)

    def warning(self, text: str, *args: object) -> None:
        """One line of that level."""
        self._write(logging.WARNING, text, args)

    def error(self, text: str, *args: object, exc_info: _Failure = None) -> None:
        """One line of that level, with the traceback of an exception."""
        self._write(logging.ERROR, text, args, exc_info)

    def critical(self, text: str, *args: object, exc_info: _Failure = None) -> None:
        """One line of that level, with the traceback of an exception."""
        self._write(logging.CRITICAL, text, args, exc_info)

    def _write(self, level: int, text: str, args: tuple[Any, ...], exc_info: _Failure = None) -> None:
        try:
            self._logger.log(level, text, *args, exc_info=exc_info, stacklevel=3)
        except KeyboardInterrupt:
            raise
        except BaseException:
            if logging.raiseExceptions and sys.stderr is not None:
                with contextlib.suppress(Exception):
                    sys.stderr.write(f"--- Logging error: {text!r} of {self._logger.name} was not logged ---\n")
                    traceback.print_exc(file=sys.stderr)
