"""``--log-format json``: the records of the log as JSON, one object a line."""

from __future__ import annotations

import json
import logging
import math
from datetime import datetime
from typing import Any, Final

from ..common.logs import traceback_text
from ..common.text import clean, text_of

__all__ = ["JsonFormatter"]

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; all else was given to it as ``extra=``."""

_REQUEST: Final = frozenset({"request_id", "function", "peer"})

MAX_TEXT: Final = 65_536
"""Characters of a message or a traceback that are kept."""


class JsonFormatter(logging.Formatter):
    """Writes ``time``, ``level``, ``logger`` and ``message``; where they are, ``request_id``, ``function``, ``peer``,
    ``exception`` and ``stack``, and whatever else a record was given.

    All of it is ASCII on one line: what is not is escaped as JSON escapes it. A record that cannot be formatted is a
    line, too, which says so.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line."""
        time = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time,
            "level": record.levelname,
            "logger": clean(record.name),
            "message": clean(_message(record), MAX_TEXT),
        }
        given = {key: value for key, value in vars(record).items() if key not in _OWN}
        if given.get("request_id") is None:
            given = {key: value for key, value in given.items() if key not in _REQUEST}
        line.update((clean(str(key)), _plain(value)) for key, value in given.items() if key not in line)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = clean(traceback_text(record.exc_info[1]), MAX_TEXT)
        if record.stack_info:
            line["stack"] = clean(record.stack_info, MAX_TEXT)
        return json.dumps(line)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of what the application has written: its arguments do not fit its text
        return f"{text_of(record.msg)} [cannot be formatted: {text_of(error)}]"


def _plain(value: object) -> Any:
    """What JSON has of its own, and the text of all else."""
    if value is None or type(value) is bool:
        return value
    if type(value) is int and abs(value) < 1 << 63:
        return value
    return value if type(value) is float and math.isfinite(value) else text_of(value)
