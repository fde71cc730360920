"""The command line. Except for ``ping`` it needs the extra ``cli``, and says so where that is missing."""

from __future__ import annotations

import os
import signal
import sys

from ..runtime.standard_streams import hold_standard_descriptors
from .output import INTERRUPTED, MISSING_EXTRA, TERMINATED, print_error

__all__ = ["main"]


def _heed_sigterm() -> None:
    """Has SIGTERM end process 1, as it ends any other: of those that have no handler the kernel drops it.

    That is the process of a Docker container, while it imports the application.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(TERMINATED))


def main() -> int | None:
    """Runs ``mpzmq`` with the arguments of this process; returns its exit code."""
    hold_standard_descriptors()
    _heed_sigterm()
    try:
        if sys.argv[1:2] == ["ping"]:
            from .ping import main as ping

            return ping(sys.argv[2:])
        try:
            import click  # noqa: F401  (only to see whether it is there)
            import rich  # noqa: F401
        except ImportError:
            command = " ".join(["mpzmq", *sys.argv[1:2]])
            print_error(
                f"{command} needs the extra 'cli': install mpzmq-engine[cli]"
                " (from a checkout: .venv/bin/pip install '.[cli]')"
            )
            return MISSING_EXTRA
        from .commands import run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
