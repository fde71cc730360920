"""Process 1 of a Docker container: it passes signals on, and reaps whatever has lost its parent."""

from __future__ import annotations

import contextlib
import os
import signal

__all__ = ["live_behind_it"]


def live_behind_it() -> None:
    """Goes on in a child where this process is the first one; elsewhere nothing happens.

    Processes whose parent has ended are the first one's, and stay zombies until it waits for them. That must not be
    the process that serves: it would take exit codes away from an application that waits for children of its own.
    And of signals for which there is no handler, such as SIGTERM during an import, the kernel drops those to the first
    process.
    """
    if os.getpid() != 1:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        command = os.fork()
    except OSError:  # no process more is allowed: then there are none to be reaped, either
        command = 0
    if command:
        os._exit(_look_after(command))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _look_after(command: int) -> int:
    """Serves the command until it has ended; returns its exit code, as shells count."""
    while True:
        received = signal.sigwaitinfo(signal.valid_signals())
        if received.si_signo == signal.SIGCHLD:
            for pid, status in iter(_reaped, None):
                if pid == command:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
        elif received.si_code <= 0:  # a process has sent it; those of a terminal the command gets itself
            with contextlib.suppress(ProcessLookupError):
                os.kill(command, received.si_signo)


def _reaped() -> tuple[int, int] | None:
    """A process that has ended, and how; None: there is none for now."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None
