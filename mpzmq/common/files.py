"""Files that others write: read without waiting, and not to their end if they are none of ours."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_BYTES", "read_small_file"]

MAX_BYTES = 4 * 1024 * 1024
"""Of one file."""


def read_small_file(path: Path) -> tuple[bytes, os.stat_result]:
    """What a file holds, and what the system knows of it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, or too large; the text is to stand behind what it is.
    """
    # Not blocking: a FIFO would hold up everybody who waits for the reader.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            is_folder = stat.S_ISDIR(status.st_mode)
            raise ValueError("is not a regular file" + (", but a directory" if is_folder else ""))
        data = b""
        while len(data) <= MAX_BYTES and (more := os.read(descriptor, MAX_BYTES + 1 - len(data))):
            data += more
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise ValueError(f"has more than {MAX_BYTES} bytes")
    return data, status
