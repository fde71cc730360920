"""``dir:///path``: a folder in which each container has a file that says where it serves."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from ...common.daemon_threads import in_daemon_thread
from ...common.files import read_small_file
from ...common.logs import Log
from ...runtime.announcements import SUFFIX, Announcement
from .endpoint import Endpoint

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FULL_LOOK_INTERVAL", "AnnouncementFolder"]

log = Log(__name__)

FULL_LOOK_INTERVAL = 1.0
"""Seconds after which each file is looked at, and whether its process lives. In between the folder's own time tells
what was put in place or taken away."""


class _File(NamedTuple):
    """One file, as it was read."""

    stamp: tuple[int, int, int]
    written: float
    announcement: Announcement | None  # None: it is none
    endpoint: Endpoint | None  # None: it cannot be reached from here


class AnnouncementFolder:
    """Looks into the files of one folder, whenever one has come, gone or changed.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._full_look_at = 0.0
        self._files: dict[str, _File] = {}

    async def look_up(self) -> list[Endpoint] | None:
        """The members; None: the folder has not changed.

        In a thread: a folder on a network file system may take its time.

        Raises:
            OSError: it cannot be read.
        """
        return await in_daemon_thread("mpzmq-source", self._look)

    def _look(self) -> list[Endpoint] | None:
        try:
            status = os.stat(self._path)
            stamp = status.st_ino, status.st_mtime_ns
            if stamp == self._stamp and monotonic() < self._full_look_at:
                return None
            self._stamp, self._full_look_at = stamp, monotonic() + FULL_LOOK_INTERVAL
            with os.scandir(self._path) as entries:
                names = sorted(
                    entry.name for entry in entries if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")
                )
        except OSError as error:
            self._stamp = None
            raise OSError(error.errno, f"{self._path}: {error.strerror}") from None
        looked = [(name, self._looked_at(name)) for name in names]
        self._files = {name: file for name, file in looked if file is not None}
        # Of two files with one address the newer one is right: the process that left the other one is on another host,
        # where nobody here can see that it has ended.
        newest_last = sorted(self._files.values(), key=lambda file: file.written)
        found = {file.endpoint.address: file.endpoint for file in newest_last if file.endpoint and not _is_stale(file)}
        return sorted(found.values(), key=lambda endpoint: (endpoint.name, endpoint.address))

    def _looked_at(self, name: str) -> _File | None:
        """What a file says now; None: it is gone."""
        path, before = self._path / name, self._files.get(name)
        try:
            status = os.stat(path)
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
            if before is not None and before.stamp == stamp:
                return before
            data, _ = read_small_file(path)
            announcement = Announcement.decoded(data)
            endpoint = _endpoint(announcement)
            if endpoint is None:
                log.warning("%s: its container serves its own host only, and this is another one", path)
            return _File(stamp, status.st_mtime, announcement, endpoint)
        except FileNotFoundError:
            return None
        except (OSError, TypeError, ValueError) as error:
            log.warning("%s is passed over: %s", path, error)
            return before._replace(stamp=stamp) if before is not None else _File(stamp, 0.0, None, None)


def _endpoint(announcement: Announcement) -> Endpoint | None:
    """The member that a container is, to this process.

    Raises:
        TypeError, ValueError: something of it is malformed.
    """
    address = announcement.address_from_here()
    if address is None:
        return None
    return Endpoint(
        address,
        name=announcement.name,  # type: ignore[arg-type]  # None is the address
        labels=announcement.labels,
        weight=announcement.weight,
        server_key=announcement.server_key,
    )


def _is_stale(file: _File) -> bool:
    process = None if file.announcement is None else file.announcement.process
    return process is not None and process.is_gone()
