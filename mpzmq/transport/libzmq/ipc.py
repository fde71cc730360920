"""The sockets on which a container listens at a path: made here, and handed to libzmq to be served.

libzmq's own bind removes whatever stands at the path, a regular file or the socket of a server that lives, and its
close removes what another server may have put there meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["IpcListener"]

LOCK_TIMEOUT = 1.0
"""Seconds to wait for other processes that bind in the same folder; each of them takes less than a millisecond."""

LOCK_RETRY = 0.002
"""Seconds between two looks at the lock."""

_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
}


class IpcListener:
    """A listening socket at a path, or with an abstract name (``@name``, Linux).

    The socket file of a server that is gone is replaced; nothing else is.

    Args:
        path: where to listen.
        backlog: connections that may wait to be accepted.

    Raises:
        OSError: something else is there (EEXIST), somebody listens there (EADDRINUSE), or the system refuses it.
    """

    def __init__(self, path: str, backlog: int) -> None:
        self._endpoint = f"ipc://{path}"
        # The working directory may be another one at the close.
        self._file = None if path.startswith("@") else os.path.abspath(path)
        self._identity: tuple[int, int] | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if self._file is None:
                self._bind("\0" + path[1:], backlog)
            else:
                with _alone_in(os.path.dirname(self._file)):
                    self._make_way(path)
                    self._bind(path, backlog)
        except OSError:
            self.close()
            raise
        # libzmq accepts in its I/O thread, where a connection that is gone by then must not be waited for.
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Its descriptor, for libzmq."""
        return self._socket.fileno()

    def detach(self) -> None:
        """libzmq owns the descriptor from now on, and closes it."""
        self._socket.detach()

    def remove(self) -> None:
        """Removes the socket file, if it is still this one."""
        if self._file is None or self._identity is None:
            return
        with contextlib.suppress(OSError), _alone_in(os.path.dirname(self._file)):
            if _identity_of(self._file) == self._identity:
                os.unlink(self._file)

    def close(self) -> None:
        """Gives it up before libzmq has taken it."""
        self._socket.close()
        self.remove()

    def _bind(self, address: str, backlog: int) -> None:
        try:
            self._socket.bind(address)
            if self._file is not None:
                self._identity = _identity_of(address)
            self._socket.listen(backlog)
        except OSError as error:
            why = os.strerror(error.errno or errno.EIO)
            if self._file is not None and error.errno in (errno.ENOENT, errno.EACCES):
                why += f": the folder {os.path.dirname(self._file)!r}"
            raise self._refusal(error.errno or errno.EIO, why) from None

    def _make_way(self, path: str) -> None:
        """Removes the socket of a server that is gone; to be called alone in its folder.

        Raises:
            OSError: something else is there.
        """
        try:
            kind = stat.S_IFMT(os.lstat(path).st_mode)
        except OSError:
            return  # nothing is there, or the bind tells why it cannot be
        if kind != stat.S_IFSOCK:
            what = _KINDS.get(kind, "a device")
            raise self._refusal(errno.EEXIST, f"{what} is there, and only the socket of a dead server is replaced")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except ConnectionRefusedError:  # nobody listens there any more
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                return
            except BlockingIOError:  # more wait there to be accepted than it wants
                who = "a server that is busy"
            except OSError as error:
                why = f"a socket is there, and who listens cannot be told: {error.strerror}"
                raise self._refusal(error.errno or errno.EIO, why) from None
            else:
                who = _listener_of(probe)
        raise self._refusal(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: {who} listens there")

    def _refusal(self, number: int, why: str) -> OSError:
        return OSError(number, f"cannot bind {self._endpoint}: {why}")


def _identity_of(path: str) -> tuple[int, int]:
    """What tells a file from another one that has taken its name."""
    there = os.lstat(path)
    return there.st_dev, there.st_ino


def _listener_of(connected: socket.socket) -> str:
    """Who listens at the other end, in words."""
    if sys.platform == "linux":
        pid, _, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if pid:  # 0: in another namespace
            return "this process" if pid == os.getpid() else f"process {pid}"
    return "another process"


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """One process at a time looks at the sockets in a folder and changes them.

    Two servers that start at once would else both find the socket of a dead one, and the second would remove that of
    the first. Where the folder cannot be locked (not readable, a file system without locks), they are not kept apart.

    Raises:
        OSError: another process holds the lock (EAGAIN).
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    why = f"another process keeps the folder {folder!r} locked"
                    raise OSError(errno.EAGAIN, why) from None
                time.sleep(LOCK_RETRY)
            except OSError:
                yield
                return
            else:
                break
        try:
            yield
        finally:
            # Not left to the close: a child that was forked meanwhile has the lock, too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
