"""``file:///path``: a file with an address on each line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...common.daemon_threads import in_daemon_thread
from ...common.files import read_small_file
from ...common.logs import Log
from ...common.text import without_comment
from .endpoint import Endpoint

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["POLL_INTERVAL", "AddressFile"]

log = Log(__name__)

POLL_INTERVAL = 0.1
"""Seconds between two looks at a file or a folder. Only a read tells what no system call of Python's library does."""

Stamp = tuple[int, int, int]


class AddressFile:
    """Looks into one file, whenever it has changed.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: Stamp | None = None  # as it was when it was read
        self._seen: Stamp | None = None  # as it was at the last look
        self._garbage: frozenset[str] = frozenset()

    async def look_up(self) -> list[Endpoint] | None:
        """The members; None: the file has not changed.

        In a thread: a file on a network file system may take its time.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        return await in_daemon_thread("mpzmq-source", self._look)

    def _look(self) -> list[Endpoint] | None:
        try:
            now = _stamp(os.stat(self._path))
            before, self._seen = self._seen, now
            if now == self._read:
                return None
            # Written in place, it may be half a file: it is read once it has been the same for a while. One that was
            # put in place of another, or is seen for the first time, is read at once.
            if before is not None and before[0] == now[0] and before != now:
                return None
            data, status = read_small_file(self._path)
        except (OSError, ValueError) as error:
            self._read = self._seen = None
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise OSError(getattr(error, "errno", None), f"{self._path}: {why}") from None
        self._read = _stamp(status)
        return self._parsed(data.decode("utf-8-sig", "replace"))

    def _parsed(self, text: str) -> list[Endpoint]:
        found: list[Endpoint] = []
        garbage: dict[str, None] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if address := without_comment(line).strip():
                try:
                    found.append(Endpoint(address))
                except ValueError as error:
                    garbage[f"line {number}: {error}"] = None
        for what in garbage:
            if what not in self._garbage:
                log.warning("%s, %s", self._path, what)
        self._garbage = frozenset(garbage)
        return found


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size
