"""What a child process has of its parent: it hears its end, and tells it how far it has come."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import threading

__all__ = ["LOADED", "SERVING", "Lifeline"]

LOADED = "mpzmq: loaded"
"""A line to the parent: the module was imported, and it has a server."""

SERVING = "mpzmq: serving "
"""The same, in front of the endpoint: it serves there."""


class Lifeline:
    """Taken by a child process as early as possible, once.

    Standard input is a pipe that the parent holds open: when the parent ends, however it ends, the pipe does, and with
    it this process and all others of its group. Standard output is another pipe, to the parent. Both are moved away:
    standard input is empty from then on, and what the application prints goes to standard error.
    """

    def __init__(self) -> None:
        parent_lives, self._told = os.dup(0), os.dup(1)  # which subprocesses do not inherit
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.close(nowhere)
        os.dup2(2, 1)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        # The system itself kills the group, though a handler may hold the interpreter's lock for ever. Not by
        # PR_SET_PDEATHSIG, which means the thread of the parent that has started this process, and may end any time.
        if hasattr(fcntl, "F_SETSIG") and os.getpgrp() == os.getpid():
            fcntl.fcntl(parent_lives, fcntl.F_SETOWN, -os.getpid())
            fcntl.fcntl(parent_lives, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(parent_lives, fcntl.F_SETFL, fcntl.fcntl(parent_lives, fcntl.F_GETFL) | os.O_ASYNC)
        # Where there is no such thing, and for a parent that ended before.
        threading.Thread(target=_end_with_parent, args=(parent_lives,), name="mpzmq-lifeline", daemon=True).start()

    def loaded(self) -> None:
        """Tells the parent that there is a server."""
        self._tell(LOADED)

    def serving(self, endpoint: str) -> None:
        """Tells the parent where it serves."""
        self._tell(SERVING + endpoint)

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it is about to end, and so is this process
            os.write(self._told, f"{line}\n".encode())


def _end_with_parent(parent_lives: int) -> None:
    poll = select.poll()
    poll.register(parent_lives, select.POLLIN)
    poll.poll()  # nothing is ever written there
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(128 + signal.SIGKILL)
