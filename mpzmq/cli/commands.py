"""The commands, as click sees them. What they do is imported when they are called."""

from __future__ import annotations

import platform

import click

from .. import __version__
from ..transport.versions import zmq_versions
from .output import INTERRUPTED

__all__ = ["run"]


def run() -> int:
    """Runs the command of this process's arguments; returns its exit code."""
    try:
        code = mpzmq.main(prog_name="mpzmq", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _versions() -> str:
    zmq = zmq_versions()
    python = platform.python_version()
    return f"mpzmq {__version__} (pyzmq {zmq['pyzmq']}, libzmq {zmq['libzmq']}, Python {python})"


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExamples:\n  mpzmq demo\n  mpzmq demo --json | python -m json.tool\n  mpzmq --version",
)
@click.version_option(__version__, message=_versions(), help="Show the versions of mpzmq and of what it runs on.")
def mpzmq() -> None:
    """An engine talks to containers: request and response over ZeroMQ."""


@mpzmq.command(
    epilog="\b\nExamples:\n  mpzmq demo\n  mpzmq demo --json > demo.json\n  NO_COLOR=1 mpzmq demo",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead, at the end.")
def demo(as_json: bool) -> int:
    """Watch three containers work, one of them die, and come back.

    Starts three containers on ephemeral ports of this host, keeps sending requests to all of them, kills one with
    SIGKILL, starts it again on its port, and says what became of every request. Takes about five seconds.

    \b
    Exit codes: 0 all went as it should, 1 it did not (stderr says what),
    2 wrong usage, 130 interrupted, 141 stdout was closed.
    """
    from .demo import run as run_demo

    return run_demo(as_json=as_json)
