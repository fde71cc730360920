"""The keys that a lobby trusts: those that were listed, and those for which a token was exchanged."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.logs import Log
from .allow_list import User
from .watcher import AllowListWatcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from .allow_list import Allow

__all__ = ["MAX_TRUSTED", "TrustedKeys"]

log = Log(__name__)

MAX_TRUSTED = 10_000
"""Keys: one more is not kept."""


class TrustedKeys(AllowListWatcher):
    """An allow-list that grows: any key may connect, and a token makes it one of the list.

    What the event loop adds and what the authenticator's thread reads pass through one lock: a key that was added is
    not to be missing for a moment.

    Args:
        allow: the list. A TOML file is added to; what is not a file is kept in memory only.
        on_change: called, from the authenticator's thread, after the file has changed.

    Raises:
        OSError, ValueError, TypeError: it cannot be read, or is a folder.
    """

    def __init__(self, allow: Allow, on_change: Callable[[], None]) -> None:
        self._file = Path(allow) if isinstance(allow, str | os.PathLike) else None
        if self._file is not None and self._file.is_dir():
            raise ValueError(f"{self._file} is a folder: a lobby keeps the keys that it trusts in one TOML file")
        self._lock = threading.Lock()
        super().__init__(allow, on_change)

    def is_allowed(self, key: str) -> bool:
        """Whether the holder of a public key may connect: anybody may, and has to show a token then."""
        return True

    def reload(self) -> None:
        """Reads the file again if it has changed."""
        with self._lock:
            super().reload()

    def keep(self, runner: str | None, key: str) -> str:
        """Trusts a key from now on, in exchange for a token.

        Args:
            runner: whose token it was, which is good for one key; None: a token of everybody, good for any.
            key: the public key that was authenticated.

        Returns:
            Why that cannot be; empty: it is done, and written down.
        """
        with self._lock:
            super().reload()  # what was added or removed by hand a moment ago counts
            name = key if runner is None else runner
            if any(user.name == name for user in self.users.values()):
                return "its token was exchanged for another key already"
            if len(self.users) >= MAX_TRUSTED:
                return f"{MAX_TRUSTED} keys are trusted already"
            if self._file is not None:
                try:
                    _append(self._file, name, key)
                except (OSError, ValueError) as error:
                    log.error("a key is not trusted, because that cannot be kept in %s: %s", self._file, error)
                    return "its key cannot be kept"
            self.users = {**self.users, key: User(name, key)}
        return ""


def _append(file: Path, name: str, key: str) -> None:
    """Adds a table in one write: what else is in the file, comments included, stays as it is."""
    # JSON's strings are TOML's, but for one character.
    quoted = json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
    data = f'\n[{quoted}]\npublic-key = "{key}"\n'.encode()
    # Not blocking: a FIFO that has taken its place would hold the event loop.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, data) < len(data):
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
