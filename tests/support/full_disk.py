"""A disk that is full for a while."""

from __future__ import annotations

import errno
import io
import os


class Disk(io.StringIO):
    """A stream to it, which says what a write to a full one says."""

    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)
