"""The command line. Except for ``ping`` it needs the extra ``cli``, and says so where that is missing."""

from __future__ import annotations

import sys

from ..runtime.standard_streams import hold_standard_descriptors
from .early_signals import heeded_early
from .first_process import live_behind_it
from .output import INTERRUPTED, MISSING_EXTRA, print_error

__all__ = ["main"]


def main() -> int | None:
    """Runs ``mpzmq`` with the arguments of this process; returns its exit code."""
    hold_standard_descriptors()
    try:
        with heeded_early(sys.argv[1:]):
            live_behind_it()
            return _command()
    except KeyboardInterrupt:
        return INTERRUPTED


def _command() -> int | None:
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
