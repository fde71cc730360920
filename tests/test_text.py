"""Text of whatever there is, and loggers whose calls cannot raise."""

from __future__ import annotations

import ast
import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq.logs import Log
from mpzmq.text import LONGEST, clean, repr_of, text_of, type_name
from tests.support.odd import Lazy, NoText, NoTraceback, OfOddClass, Twin, Unusual

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).parent.parent / "mpzmq"


class Renamed(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise LookupError("no name")


class Nameless(metaclass=Renamed):
    __repr__ = None  # type: ignore[assignment]


class Long:
    def __repr__(self) -> str:
        return "x" * 1_000_000


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: 5, "5"),
        (NoText, "<NoText, whose text cannot be had: AttributeError>"),
        (lambda: NoText(SystemExit), "<NoText, whose text cannot be had: SystemExit>"),
        (lambda: NoText(asyncio.CancelledError), "<NoText, whose text cannot be had: CancelledError>"),
        (lambda: NoText(Unusual), "<NoText, whose text cannot be had: Unusual>"),
        (NoTraceback, "<NoTraceback, whose text cannot be had: ValueError>"),
        (lambda: Nameless(), "<Nameless, whose text cannot be had: TypeError>"),
        (lambda: [NoText()], "<list, whose text cannot be had: AttributeError>"),
    ],
)
def test_a_text_of_anything(make: Callable[[], object], shown: str) -> None:
    assert repr_of(make()) == text_of(make()) == shown


def test_a_text_of_what_has_two() -> None:
    assert (repr_of("a"), text_of("a")) == ("'a'", "a")
    assert (repr_of(ValueError("a")), text_of(ValueError("a"))) == ("ValueError('a')", "a")


def test_the_name_of_a_class_is_had_without_asking_it() -> None:
    for kind in (Lazy, NoText, NoTraceback, OfOddClass):
        assert type_name(kind()) == kind.__name__
    assert (type_name(Nameless()), type_name(5)) == ("Nameless", "int")


def test_a_text_can_be_sent_and_has_an_end() -> None:
    assert text_of("a \udcff b") == "a ? b"
    assert len(text_of("x" * 1_000_000)) == len(repr_of(Long())) == LONGEST + len(" [cut]")
    assert text_of("x" * 10, 4) == "xxxx [cut]"
    assert type(text_of(Twin("a"))) is type(clean(Twin("a"))) is str
    odd: Any = NoText()
    assert clean(odd) == "<NoText, whose text cannot be had: AttributeError>"


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        repr_of(NoText(KeyboardInterrupt))


class _Breaks(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self._error


@pytest.mark.parametrize("make", [LookupError, SystemExit, NoTraceback])
def test_a_log_line_that_raises_is_shown_and_whoever_logs_goes_on(
    make: type[BaseException], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = make()
    log, handler = Log("mpzmq.test"), _Breaks(error)
    logging.getLogger("mpzmq.test").addHandler(handler)
    try:
        for write in (log.warning, log.error, log.critical):
            write("a line with %r", NoText())
        assert capsys.readouterr().err.count("'a line with %r' of mpzmq.test was not logged") == 3
        monkeypatch.setattr(sys, "stderr", None)
        log.error("another", exc_info=error)
        with monkeypatch.context() as quiet:
            quiet.setattr(logging, "raiseExceptions", False)
            log.error("another")
    finally:
        logging.getLogger("mpzmq.test").removeHandler(handler)


def test_an_interrupt_in_a_log_passes() -> None:
    log, handler = Log("mpzmq.test"), _Breaks(KeyboardInterrupt())
    logging.getLogger("mpzmq.test").addHandler(handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            log.warning("a line")
    finally:
        logging.getLogger("mpzmq.test").removeHandler(handler)


def test_a_line_names_the_place_that_wrote_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mpzmq.test")
    log = Log("mpzmq.test")
    for write in (log.debug, log.info, log.warning, log.error, log.critical):
        write("from %s", "here")
    assert [record.levelname for record in caplog.records] == ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert {(record.getMessage(), record.filename, record.name) for record in caplog.records} == {
        ("from here", "test_text.py", "mpzmq.test")
    }


def test_the_library_logs_by_these_loggers_only() -> None:
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE)
        if module.parts[0] in ("cli", "testing", "logs.py"):
            continue  # programs, whose lines no caller waits behind
        imported = [
            name.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        ]
        assert "logging" not in imported, f"{module}: use Log of mpzmq.logs, whose calls cannot raise"
