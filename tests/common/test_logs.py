"""What the library logs stays on the lines on which it belongs, and costs nobody more than its line."""

from __future__ import annotations

import io
import logging
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

from mpzmq import ContainerServer, RemoteError
from mpzmq.common.logs import Log, LogRateLimit, traceback_text
from mpzmq.testing import connected
from tests.support import ROOT
from tests.support.odd import NoText, NoTraceback
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Iterator

_E = TypeVar("_E", bound=BaseException)

FORGED = "no\n2026-01-01 00:00:00 CRITICAL root: forged\r\x1b[2J\u2028\x9b31m"
ESCAPED = r"no\n2026-01-01 00:00:00 CRITICAL root: forged\r\x1b[2J\u2028\x9b31m"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a program's own handler writes, as ``logging.basicConfig()`` makes one."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("mpzmq").addHandler(handler)
    yield stream
    logging.getLogger("mpzmq").removeHandler(handler)


def raised(error: _E) -> _E:
    try:
        raise error
    except BaseException:
        return error


async def test_the_log_of_a_container(written: io.StringIO) -> None:
    server = ContainerServer()

    @server.function
    def fail(text: str) -> None:
        raise ValueError(text)

    async with connected(server) as container:
        with pytest.raises(RemoteError) as told:
            await soon(container.call("fail", FORGED))
    assert told.value.error_message == FORGED, "the caller has it as it is"
    lines = written.getvalue().splitlines()
    assert lines[-1] == f"ValueError: {ESCAPED}"
    assert not any(line.startswith("2026-01-01 00:00:00 CRITICAL") for line in lines)
    assert not re.search(r"[^\n -~]", written.getvalue())
    assert "Traceback (most recent call last):" in lines


def test_arguments_of_a_line(written: io.StringIO) -> None:
    log = Log("mpzmq.trial")
    log.error("%s and %s and %d", FORGED, ValueError(FORGED), 3)
    assert written.getvalue().endswith(f" ERROR mpzmq.trial: {ESCAPED} and {ESCAPED} and 3\n")
    log.error("%(a)s", {"a": 1})
    log.error("nothing to add")
    assert written.getvalue().endswith("nothing to add\n")


def test_the_error_itself_is_there_for_other_handlers(caplog: pytest.LogCaptureFixture) -> None:
    error = raised(ValueError(FORGED))
    Log("mpzmq.trial").error("it failed", exc_info=error)
    (record,) = caplog.records
    assert record.exc_info is not None and record.exc_info[1] is error


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_error_whose_text_raises(written: io.StringIO) -> None:
    Log("mpzmq.trial").error("it failed", exc_info=raised(Silent()))
    assert written.getvalue().endswith(f"{__name__}.Silent: <Silent, whose text cannot be had: RuntimeError>\n")


def chained(*, suppressed: bool) -> BaseException:
    try:
        try:
            raise KeyError("missing")
        except KeyError as error:
            if suppressed:
                raise ValueError("second") from None
            raise ValueError("second") from error
    except ValueError:
        return raised(OSError(2, "third"))
    raise AssertionError


def within() -> BaseException:
    try:
        raised(KeyError("inner"))
        raise LookupError("outer")
    except LookupError:
        return raised(TypeError())
    raise AssertionError


def noted() -> BaseException:
    error = raised(ValueError("text"))
    error.add_note("a note")
    return error


@pytest.mark.parametrize(
    "error",
    [raised(ValueError("plain")), raised(KeyError("k")), chained(suppressed=False), chained(suppressed=True), within(),
     noted(), ValueError("never raised"), raised(re.error("of a module"))],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_nothing_else_differs_from_what_python_writes(error: BaseException) -> None:
    assert traceback_text(error) == "".join(traceback.format_exception(error)).rstrip("\n")


def test_groups_and_circles_end() -> None:
    group = ExceptionGroup("several", [raised(ValueError(FORGED)), ExceptionGroup("inner", [raised(OSError("x"))])])
    text = traceback_text(raised(group))
    assert "ExceptionGroup: several (2 sub-exceptions)" in text
    assert f"    ValueError: {ESCAPED}" in text and "        OSError: x" in text
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert traceback_text(first).count("first") == 1
    error: BaseException = ValueError("the first of many")
    for number in range(1000):
        following = ValueError(str(number))
        following.__context__, error = error, following
    assert traceback_text(error).count("ValueError") == 20
    assert traceback_text(error).endswith("ValueError: 999")


def test_every_module_takes_its_logger_from_here() -> None:
    found = [path for path in (ROOT / "mpzmq").rglob("*.py") if "logging.getLogger(" in path.read_text("utf-8")]
    assert [path.name for path in found] == ["logs.py"]


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


class NoCause(Exception):
    """Whatever is asked of it raises what is not even an Exception."""

    def __getattribute__(self, name: str) -> Any:
        raise GeneratorExit(name)


def test_a_line_about_an_odd_error_that_a_handler_does_not_take_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    log, handler = Log("mpzmq.test"), _Breaks(SystemExit("full"))
    logging.getLogger("mpzmq.test").addHandler(handler)
    try:
        try:
            raise NoCause
        except NoCause as error:
            log.error("a line", exc_info=error)
    finally:
        logging.getLogger("mpzmq.test").removeHandler(handler)
    shown = capsys.readouterr().err
    assert "'a line' of mpzmq.test was not logged" in shown
    assert "SystemExit: full" in shown


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
        ("from here", "test_logs.py", "mpzmq.test")
    }


class _OddNotes(Exception):
    """Its notes are none."""

    __notes__: Any = 5


class _OddGroup(ExceptionGroup[Exception]):
    """It does not say what it holds."""

    @property
    def exceptions(self) -> NoReturn:
        raise LookupError("no exceptions")


class _OddChain(Exception):
    """It does not say where it comes from."""

    @property
    def __cause__(self) -> NoReturn:
        raise SystemExit("no cause")

    @__cause__.setter
    def __cause__(self, value: object) -> None:
        """It is set when it is raised."""


def test_an_error_of_which_no_traceback_can_be_had(written: io.StringIO) -> None:
    for error in (NoTraceback(), _OddNotes("notes"), _OddGroup("group", [ValueError()]), _OddChain("chain")):
        Log("mpzmq.test").error("it raised", exc_info=error)
        name = type(error).__name__
        line = written.getvalue().splitlines()[-1]
        assert "it raised" in written.getvalue() and line.startswith(f"{name}: ") and "its traceback cannot" in line


def test_one_line_in_a_while() -> None:
    limit = LogRateLimit(10.0)
    assert [limit.allows(now) for now in (0.0, 5.0, 9.99, 10.0, 12.0, 30.0)] == [True, False, False, True, False, True]
