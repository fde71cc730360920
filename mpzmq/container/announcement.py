"""The file by which a container says where it serves."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from ..common.files import read_small_file
from ..common.logs import Log
from ..runtime.announcements import SUFFIX, Announcement, ProcessIdentity, reachable_from_elsewhere

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["AnnouncementFile"]

log = Log(__name__)


class AnnouncementFile:
    """Stands in a folder from the first bind to the end; entered before the one, and left behind the drain.

    Args:
        folder: where; it is made if it is not there.
        name: of the container.
        labels: what it can be chosen by.
        weight: its share of the requests.
    """

    def __init__(self, folder: str, name: str, labels: Mapping[str, str], weight: float) -> None:
        self._folder = Path(folder)
        self._name = name
        self._labels = labels
        self._weight = weight
        self._addresses: list[str] = []
        host = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())
        self._path = self._folder / f"{host}-{os.getpid()}-{uuid4().hex[:8]}{SUFFIX}"

    def __enter__(self) -> Self:
        """Makes the folder, and clears away what dead processes have left in it.

        Raises:
            OSError: nothing can be announced there.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            paths = sorted(self._folder.glob(f"*{SUFFIX}"))
        except OSError as error:
            raise self._failed(error) from None
        for path in paths:
            if _is_left_over(path):
                log.info("%s was left by a process that has ended, and is removed", path)
                with contextlib.suppress(OSError):
                    path.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as trouble:  # whoever reads it sees that this process has ended
            log.warning("cannot remove %s: %s", self._path, trouble.strerror)

    def add(self, endpoint: str) -> None:
        """The container serves there now.

        Raises:
            OSError: the file cannot be written.
        """
        self._addresses.append(reachable_from_elsewhere(endpoint))
        told = Announcement(
            name=self._name,
            addresses=tuple(self._addresses),
            process=ProcessIdentity.own(),
            labels=self._labels,
            weight=self._weight,
        )
        unfinished = self._path.with_name(f".{self._path.name}")
        try:
            try:
                unfinished.write_bytes(told.encoded())
                unfinished.replace(self._path)  # whoever looks finds all of it, or nothing
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> OSError:
        return OSError(error.errno, f"cannot announce in {self._folder}: {error.strerror}")


def _is_left_over(path: Path) -> bool:
    try:
        process = Announcement.decoded(read_small_file(path)[0]).process
    except (OSError, ValueError):  # it is not ours to judge
        return False
    return process is not None and process.is_gone()
