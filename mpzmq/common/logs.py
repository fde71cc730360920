"""The loggers of the package: their calls cannot raise, and what others have written stays on one line."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import UUID

from .text import MAX_NAME, printable, text_of, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Log", "LogRateLimit", "LoggedRequest", "RequestFacts", "request_attributes", "traceback_text"]

MAX_ERRORS = 20
"""Of a chain or a group, in one traceback: the last ones."""

_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"

_Failure = BaseException | bool | None

_traceback_of: Any = BaseException.__dict__["__traceback__"].__get__


class LoggedRequest(Protocol):
    """The request that a line speaks of."""

    @property
    def request_id(self) -> UUID | None:
        """Its id; None: it has none yet."""

    @property
    def function(self) -> str | None:
        """The function that it asks for; None: none by name."""

    @property
    def peer(self) -> str:
        """The name of the other side."""


class RequestFacts(NamedTuple):
    """One of which nothing else is at hand."""

    request_id: UUID
    function: str | None
    peer: str

    @classmethod
    def of(cls, tag: bytes, function: str | None, peer: str) -> RequestFacts:
        """The request with this id."""
        return cls(UUID(bytes=tag), function, peer)


class Log:
    """A logger of :mod:`logging`, used so that a filter or a handler of the application may fail.

    Such a failure is shown on standard error, as logging shows that of its own handlers, and whoever logged goes on: a
    line of the log is never worth a reply.

    A container logs what engines have sent, and the errors of handlers often repeat it: with a raw newline it could
    write lines of its own, and with an escape sequence change what a terminal shows. Both are escaped. The record's
    ``exc_info`` is the error itself.

    The record of a line that speaks of a request has the attributes ``request_id``, ``function`` and ``peer``, too, for
    filters and formatters: ``about=`` says which request that is.

    Args:
        logger: its name, that of the module; or the logger itself, of the application.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: str | logging.Logger) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._logger.addFilter(_escape)

    @property
    def wants_debug(self) -> bool:
        """Whether anybody wants lines of that level."""
        return self._logger.isEnabledFor(logging.DEBUG)

    @property
    def is_switched_on(self) -> bool:
        """Whether it has been given a level of its own, and lets lines at INFO through.

        To have a level of our own in its place would not do: ``logging.config`` takes that away from all loggers below
        one that it configures.
        """
        return self._logger.level != logging.NOTSET and self._logger.isEnabledFor(logging.INFO)

    def switch_on(self) -> None:
        """Its own level is INFO from now on."""
        self._logger.setLevel(logging.INFO)

    def debug(self, text: str, *args: object, exc_info: _Failure = None, about: LoggedRequest | None = None) -> None:
        """One line of that level, with the traceback of an exception."""
        self._write(logging.DEBUG, text, args, exc_info, about)

    def info(
        self, text: str, *args: object, about: LoggedRequest | None = None, extra: Mapping[str, object] | None = None
    ) -> None:
        """One line of that level, with more attributes."""
        self._write(logging.INFO, text, args, None, about, extra)

    def warning(self, text: str, *args: object, about: LoggedRequest | None = None) -> None:
        """One line of that level."""
        self._write(logging.WARNING, text, args, None, about)

    def error(self, text: str, *args: object, exc_info: _Failure = None, about: LoggedRequest | None = None) -> None:
        """One line of that level, with the traceback of an exception."""
        self._write(logging.ERROR, text, args, exc_info, about)

    def critical(self, text: str, *args: object, exc_info: _Failure = None) -> None:
        """One line of that level, with the traceback of an exception."""
        self._write(logging.CRITICAL, text, args, exc_info)

    def _write(
        self,
        level: int,
        text: str,
        args: tuple[Any, ...],
        failure: _Failure = None,
        about: LoggedRequest | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        exc_info: Any = failure
        if issubclass(type(failure), BaseException):  # whose own attribute may raise
            exc_info = type(failure), failure, _traceback_of(failure)
        try:
            if about is not None:
                extra = {**request_attributes(about), **(extra or {})}
            self._logger.log(level, text, *args, exc_info=exc_info, extra=extra, stacklevel=3)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if logging.raiseExceptions and sys.stderr is not None:
                why = traceback_text(error)  # which may lead to the one that was to be logged
                with contextlib.suppress(Exception):
                    sys.stderr.write(f"--- Logging error: {text!r} of {self._logger.name} was not logged ---\n{why}\n")


class LogRateLimit:
    """Lets one line through in a while: a flood of something must not become one of the log.

    Args:
        interval: seconds between two lines.
    """

    __slots__ = ("_interval", "_next_at")

    def __init__(self, interval: float = 10.0) -> None:
        self._interval = interval
        self._next_at = -math.inf

    def allows(self, now: float) -> bool:
        """Whether a line may be written now; True: it is."""
        if now < self._next_at:
            return False
        self._next_at = now + self._interval
        return True


def request_attributes(request: LoggedRequest) -> dict[str, str | None]:
    """What a record says of its request; what others have written, so that it stays on its line."""
    request_id, function = request.request_id, request.function
    return {
        "request_id": None if request_id is None else str(request_id),
        "function": None if function is None else printable(text_of(function, MAX_NAME)),
        "peer": printable(text_of(request.peer, MAX_NAME)),
    }


def traceback_text(error: BaseException) -> str:
    """What ``logging`` would write of an error, with the errors' own texts on one line each."""
    try:
        return "\n".join(_lines(error, set()))
    except KeyboardInterrupt:
        raise
    except BaseException as odd:  # of a class of the application, whose attributes raise
        why = f"its traceback cannot be had: {type_name(odd)}"
        return f"{type_name(error)}: {printable(text_of(error))} ({why})"


def _escape(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_escaped, record.args))
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        record.exc_text = traceback_text(record.exc_info[1])  # a formatter writes no other
    return True


def _escaped(value: object) -> object:
    return printable(text_of(value)) if issubclass(type(value), str | BaseException) else value


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    earlier, link = error.__cause__, _CAUSE
    if earlier is None and not error.__suppress_context__:
        earlier, link = error.__context__, _CONTEXT
    if earlier is not None and id(earlier) not in seen and len(seen) < MAX_ERRORS:
        yield from (*_lines(earlier, seen), "", link, "")
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        for frame in traceback.format_tb(error.__traceback__):
            yield from map(printable, frame.rstrip("\n").split("\n"))
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    yield f"{module}{kind.__qualname__}: {printable(text_of(error))}".removesuffix(": ")
    for note in getattr(error, "__notes__", ()):
        yield printable(text_of(note))
    if isinstance(error, BaseExceptionGroup):
        for number, inner in enumerate(error.exceptions, 1):
            if len(seen) < MAX_ERRORS:
                yield f"  {number} of {len(error.exceptions)}:"
                yield from (f"    {line}" for line in _lines(inner, seen))
