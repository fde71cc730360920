"""What signals mean to a command before it has handlers of its own."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["has_terminal", "heeded_early"]


@contextlib.contextmanager
def heeded_early(arguments: Sequence[str]) -> Iterator[None]:
    """Entered first of all.

    Args:
        arguments: of the command line.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # Whoever has started this ignores it: then the system keeps no exit code, and each would read as 0.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A reload waits for its handler: by default it would end the command.
    held = (signal.SIGHUP,) if arguments[:1] == ["up"] and not has_terminal() else ()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def has_terminal() -> bool:
    """Whether there is a terminal whose end SIGHUP may mean."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
