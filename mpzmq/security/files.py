"""Files of keys: read without waiting, and not to their end if they are none of ours."""

from __future__ import annotations

import os
import stat
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_BYTES", "read_toml"]

MAX_BYTES = 4 * 1024 * 1024
"""Of one file."""


def read_toml(path: Path, what: str) -> tuple[dict[str, Any], int]:
    """The table that a file holds, and the mode of that file.

    Args:
        path: of the file.
        what: it should hold, for the error.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, too large, or not TOML; the text names it.
    """

    def refused(why: str) -> ValueError:
        return ValueError(f"{path} holds no {what}: it {why}")

    # Not blocking: a FIFO would hold up everybody who wants to get in anywhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise refused("is not a regular file" + (", but a directory" if stat.S_ISDIR(mode) else ""))
        data = b""
        while len(data) <= MAX_BYTES and (more := os.read(descriptor, MAX_BYTES + 1 - len(data))):
            data += more
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise refused(f"has more than {MAX_BYTES} bytes")
    try:
        return tomllib.loads(data.decode("utf-8-sig")), mode  # as some editors save it
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, nested without end
        raise refused(f"is no TOML: {error}") from None
