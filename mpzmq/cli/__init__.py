"""The command line. It needs the extra ``cli``, and says so where that is missing."""

from __future__ import annotations

import sys

from .output import INTERRUPTED

__all__ = ["main"]


def main() -> int | None:
    """Runs ``mpzmq`` with the arguments of this process; returns its exit code."""
    try:
        import click  # noqa: F401  (only to see whether it is there)
        import rich  # noqa: F401
    except ImportError:
        command = " ".join(["mpzmq", *sys.argv[1:2]])
        print(
            f"{command} needs the extra 'cli': install mpzmq-engine[cli]"
            " (from a checkout: .venv/bin/pip install '.[cli]')",
            file=sys.stderr,
        )
        return 1
    try:
        from .commands import run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
