"""What this process takes from its host."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ..common.stderr_log import UNWRITTEN

__all__ = ["process_facts"]


def process_facts() -> dict[str, Any]:
    """Bytes of memory that it holds, seconds of CPU, files that it has open, and log lines that it could not write.

    Memory and files are None where the system does not tell: on other ones than Linux.
    """
    return {
        "memory": _memory(),
        "cpu_seconds": round(time.process_time(), 3),
        "open_files": _open_files(),
        "unwritten_log_lines": UNWRITTEN.count,
    }


def _memory() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError):  # not Linux; Windows has no sysconf
        return None


def _open_files() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:  # not Linux; or there is no descriptor left to look with
        return None
