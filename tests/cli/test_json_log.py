"""``mpzmq serve --log-format json`` and ``--access-log``."""

from __future__ import annotations

import json
import logging
import signal
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from mpzmq import RemoteError, Unsupported, blocking
from mpzmq.cli.json_log import JsonFormatter
from tests.support.commands import SECONDS
from tests.support.odd import NoText

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]

HOSTILE = 'a"\n\r\x1b[2J\u2028\x85\udc80' + "x" * 100_000

SERVER = """
import logging
from mpzmq import ContainerServer

server = ContainerServer(name="desk")
log = logging.getLogger("desk")

@server.function
def work(text):
    log.warning("working at %s", text)

@server.function
def fail(text):
    raise ValueError(text)
"""


def formatted(**given: Any) -> dict[str, Any]:
    line = JsonFormatter().format(logging.makeLogRecord({"name": "mine", "levelname": "INFO", "created": 0.5, **given}))
    assert line.isascii() and line.isprintable()
    return json.loads(line)  # type: ignore[no-any-return]


def test_a_record() -> None:
    line = formatted(msg="%s is %d", args=("it", 3))
    time = datetime.fromisoformat(line.pop("time"))
    assert time.timestamp() == 0.5 and time.tzinfo is not None
    assert line == {"level": "INFO", "logger": "mine", "message": "it is 3"}


def test_what_a_record_was_given() -> None:
    given = {"count": 3, "ratio": 0.5, "ok": True, "no": None, "odd": NoText(), "inf": float("inf"), "big": 1 << 20_000}
    line = formatted(msg="m", **given, level="mine", items=[1])
    assert (line["count"], line["ratio"], line["ok"], line["no"]) == (3, 0.5, True, None)
    assert line["inf"] == "inf" and line["items"] == "[1]" and "cannot be had" in line["odd"]
    assert isinstance(line["big"], str) and line["level"] == "INFO"


def test_a_request_is_all_of_it_or_nothing() -> None:
    line = formatted(msg="m", request_id=None, function=None, peer=None)
    assert not {"request_id", "function", "peer"} & set(line)
    line = formatted(msg="m", request_id="1", function=None, peer="p")
    assert (line["request_id"], line["function"], line["peer"]) == ("1", None, "p")


def test_nothing_breaks_a_line() -> None:
    line = formatted(msg="%s", args=(HOSTILE,), name=HOSTILE, peer=HOSTILE, request_id=HOSTILE, **{HOSTILE: HOSTILE})
    assert line["message"].startswith('a"\n\r\x1b[2J\u2028\x85?x') and len(line["message"]) < 70_000
    assert len(line["peer"]) < 5000


def test_a_message_that_cannot_be_formatted_is_a_line_too() -> None:
    assert formatted(msg="%d", args=("x",))["message"].startswith("%d [cannot be formatted: ")
    assert "cannot be formatted" in formatted(msg="%s", args=(NoText(SystemExit),))["message"]


def test_errors_and_stacks() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        line = formatted(msg="m", exc_info=sys.exc_info(), stack_info="Stack:\n  here")
    assert line["exception"].startswith("Traceback (most recent call last):\n") and "ValueError: a" in line["exception"]
    assert line["stack"] == "Stack:\n  here"
    assert "exception" not in formatted(msg="m", exc_info=(None, None, None))


def test_a_container_that_logs_json(start: Start, tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text(SERVER)
    process = start("serve", "desk:server", "--app-dir", str(tmp_path), "--log-format", "json", "--access-log")
    assert process.stdout is not None
    endpoint = process.stdout.readline().strip()
    at_work, failed = uuid4(), uuid4()
    with blocking.connect(endpoint) as container:
        container.call("work", HOSTILE[:7], request_id=at_work)
        with pytest.raises(RemoteError):
            container.call("fail", "no\nway", request_id=failed)
        with pytest.raises(Unsupported):
            container.call('no such\n{"level": "CRITICAL"}')
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=SECONDS)
    lines = [json.loads(line) for line in err.splitlines()]
    assert all(datetime.fromisoformat(line["time"]).tzinfo for line in lines)
    mine = next(line for line in lines if line["logger"] == "desk")
    assert (mine["request_id"], mine["function"]) == (str(at_work), "work") and mine["level"] == "WARNING"
    raised = next(line for line in lines if "exception" in line)
    assert raised["request_id"] == str(failed) and raised["exception"].endswith(r"ValueError: no\nway")
    ended = [line for line in lines if line["logger"] == "mpzmq.access"]
    assert [line["outcome"] for line in ended] == ["replied", "failed", "refused"]
    assert ended[0]["work_ms"] > 0 and ended[0]["peer"] == mine["peer"]
    assert {line["level"] for line in lines} == {"INFO", "WARNING", "ERROR"}


def test_a_container_that_logs_text_has_its_lines_as_before(start: Start, tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text(SERVER)
    process = start("serve", "desk:server", "--app-dir", str(tmp_path), MPZMQ_ACCESS_LOG="1", MPZMQ_LOG_LEVEL="error")
    assert process.stdout is not None
    with blocking.connect(process.stdout.readline().strip()) as container, pytest.raises(RemoteError):
        container.call("fail", "no")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=SECONDS)
    lines = err.splitlines()
    assert " INFO mpzmq.access: failed: the call of 'fail' of " in lines[0]
    assert " ERROR mpzmq.handlers.dispatcher: request " in lines[1] and lines[-1] == "ValueError: no"
