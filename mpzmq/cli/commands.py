"""The commands, as click sees them. What they do is imported when they are called."""

from __future__ import annotations

import difflib
import platform
import re
from typing import Any

import click

from .._version import __version__
from .gateway_command import gateway
from .key_commands import keys
from .manifest_command import manifest
from .mcp_command import mcp
from .options import Number, all_option, connecting, examples, json_option, timeout_option
from .output import FAILED, INTERRUPTED, USAGE, give_up_stdout, print_error
from .schema_commands import schema, stubs
from .serve_commands import reply, serve
from .up_command import up
from .watch_commands import stats, top

__all__ = ["mpzmq", "run"]

NUMBER = re.compile(r"-[0-9]")


def run() -> int:
    """Runs the command of this process's arguments; returns its exit code."""
    try:
        code = mpzmq.main(prog_name="mpzmq", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except OSError as error:  # of what click prints itself, --help and --version
        print_error(f"mpzmq: cannot write to stdout: {error.strerror}")
        give_up_stdout()
        return FAILED
    return code if isinstance(code, int) else 0


def _show_versions(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    from ..transport.libzmq.versions import zmq_versions
    from .build import build_name

    zmq = zmq_versions()
    runs_on = f"pyzmq {zmq['pyzmq']}, libzmq {zmq['libzmq']}, Python {platform.python_version()}"
    click.echo(f"mpzmq {__version__}, {build_name()} ({runs_on}, curve {zmq['curve']})")
    context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("mpzmq demo", "mpzmq reply --bind 127.0.0.1:3010", "mpzmq call 127.0.0.1:3010 echo '\"hello\"'"),
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_versions,
    help="Show the versions of mpzmq and of what it runs on.",
)  # fmt: skip
def mpzmq() -> None:
    """An engine talks to containers: request and response over ZeroMQ."""


mpzmq.add_command(gateway)
mpzmq.add_command(mcp)
mpzmq.add_command(keys)
mpzmq.add_command(manifest)
mpzmq.add_command(reply)
mpzmq.add_command(schema)
mpzmq.add_command(serve)
mpzmq.add_command(stubs)
mpzmq.add_command(stats)
mpzmq.add_command(top)
mpzmq.add_command(up)


@mpzmq.command(epilog=examples("mpzmq demo", "mpzmq demo --json > demo.json", "mpzmq demo --svg demo.svg"))
@json_option("Print one JSON document instead, at the end.")
@click.option("--svg", metavar="FILE", help="Draw what a terminal shows at the end into an SVG file instead.")
def demo(as_json: bool, svg: str | None) -> int:
    """Watch three containers work, one of them die, and come back.

    Starts three containers on ephemeral ports of this host, keeps sending requests to all of them, kills one with
    SIGKILL, starts it again on its port, and says what became of every request. Takes about five seconds.

    \b
    Exit codes: 0 all went as it should, 1 it did not (stderr says what),
    64 wrong usage, 130 interrupted, 141 stdout was closed.
    """
    from .demo.command import run as run_demo

    return run_demo(as_json=as_json, svg=svg)


class _JsonArguments(click.Command):
    """Takes negative numbers as arguments, though they look like options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[-1:] in (["--help"], ["-h"]) and len(args) > 2 and not any(word.startswith("-") for word in args[:2]):
            args = [*args[:-1], "--help-function"]  # that of ENDPOINT FUNCTION, and not that of the command
        rest = super().parse_args(ctx, args)
        for word in (ctx.params["endpoint"], ctx.params["function"] or "", *ctx.params["args"]):
            if word.startswith("-") and word != "-" and not NUMBER.match(word):
                name = word.partition("=")[0]
                known = [text for parameter in self.params for text in parameter.opts if text.startswith("--")]
                raise click.NoSuchOption(name, possibilities=difflib.get_close_matches(name, known), ctx=ctx)
        return rest


@mpzmq.command(
    cls=_JsonArguments,
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "mpzmq call 127.0.0.1:3010 add 1 2",
        "mpzmq call 127.0.0.1:3010 greet '\"Ada\"' --kw loud=true",
        "mpzmq call 127.0.0.1:3010 --invoke '{\"key\": [1, 2]}'",
        "cat data.json | mpzmq call 127.0.0.1:3010 store -",
    ),
)
@click.argument("endpoint")
@click.argument("function", required=False)
@click.argument("args", nargs=-1, metavar="[JSON]...")
@click.option("--help-function", is_flag=True, hidden=True)
@click.option("--kw", "named", multiple=True, metavar="NAME=JSON", help="An argument by name.")
@click.option("--invoke", "data", metavar="JSON", help="Send plain data instead of calling a function.")
@timeout_option(30.0, "the answer, or for each item of a stream")
@connecting
@all_option()
@click.option("--idempotent", is_flag=True, help="It may run twice: send it again after a restart; no stream is.")
@json_option(
    "Print the result with the status and the time, or the error, as one JSON document; in front of it one for each"
    " item of a stream."
)
def call(
    endpoint: str,
    function: str | None,
    args: tuple[str, ...],
    named: tuple[str, ...],
    data: str | None,
    timeout: float,
    keys: str | None,
    server_key: str | None,
    every: bool,
    idempotent: bool,
    help_function: bool,
    as_json: bool,
) -> int:
    """Call a function of a container: JSON in, JSON out.

    ENDPOINT may be a source, such as dns://calc:3010, or several endpoints with commas: one of its containers is
    called, or with --all each of them.

    What a function yields is printed as it comes, one line for each item. ENDPOINT FUNCTION --help tells what a
    function takes; a typed one takes a UUID, a date, a Decimal and the like as text.

    An argument "-" is read from standard input. bytes are {"$b64": "aGk="}, a UUID is {"$uuid": "..."}, a time is
    {"$time": "2026-01-31T12:00:00+00:00"}, a dict with other keys than strings {"$map": [[1, "one"]]}.

    \b
    Exit codes: 0 it answered, 1 the request failed (stderr says whether it ran), 2 unreachable,
    3 timeout (of a draining container, too), 4 stopped, 64 wrong usage, 65 no JSON.
    """
    from .call import run as run_call

    if help_function:
        from .function_help import run as show_help

        return show_help(endpoint, str(function), timeout=timeout, security=(keys, server_key))
    options: dict[str, Any] = {"timeout": timeout, "idempotent": idempotent, "every": every, "as_json": as_json}
    return run_call(endpoint, function, args, named, data, security=(keys, server_key), **options)


@mpzmq.command(epilog=examples("mpzmq describe 127.0.0.1:3010", "mpzmq describe 127.0.0.1:3010 --json"))
@click.argument("endpoint")
@timeout_option(5.0)
@connecting
@all_option()
@json_option("Print one JSON document.")
def describe(
    endpoint: str, timeout: float, keys: str | None, server_key: str | None, every: bool, as_json: bool
) -> int:
    """Show a container's functions, with signatures and docs."""
    from .inspect import describe as run_describe

    return run_describe(endpoint, timeout=timeout, security=(keys, server_key), every=every, as_json=as_json)


@mpzmq.command(
    epilog=examples("mpzmq state 127.0.0.1:3010", "mpzmq state 127.0.0.1:3010 STOP"),
)
@click.argument("endpoint")
@click.argument("status", required=False, type=click.Choice(["RUNNING", "STOP"], case_sensitive=False))
@timeout_option(5.0)
@connecting
@all_option()
@json_option("Print one JSON document.")
def state(
    endpoint: str,
    status: str | None,
    timeout: float,
    keys: str | None,
    server_key: str | None,
    every: bool,
    as_json: bool,
) -> int:
    """Show a container's run state, or set it.

    In STOP a container refuses functions and plain requests, and stays reachable.
    """
    from .inspect import state as run_state

    return run_state(endpoint, status, timeout=timeout, security=(keys, server_key), every=every, as_json=as_json)


@mpzmq.command(epilog=examples("mpzmq doctor 127.0.0.1:3010", "mpzmq doctor tcp://calculator:3010 --json"))
@click.argument("endpoint")
@timeout_option(3.0)
@connecting
@json_option("Print one JSON document.")
def doctor(endpoint: str, timeout: float, keys: str | None, server_key: str | None, as_json: bool) -> int:
    """Find out why a container does not answer, step by step.

    From the name to the address, TCP, the ZeroMQ greeting, HELLO and a PING: each with its time, and with the likely
    fix where it fails.

    \b
    Exit codes: 0 all is well, 2 unreachable, 3 timeout, 4 stopped or draining, 64 wrong usage.
    """
    from .doctor.command import run as run_doctor

    return run_doctor(endpoint, timeout=timeout, security=(keys, server_key), as_json=as_json)


@mpzmq.command(
    epilog=examples(
        "mpzmq conformance 127.0.0.1:3010",
        "mpzmq conformance --listen 127.0.0.1:3010 --level 1",
        "mpzmq conformance 127.0.0.1:3010 --check started-is-told",
    )
)
@click.argument("endpoint", required=False)
@click.option("--listen", metavar="ENDPOINT", help="Judge an engine, whose driver connects to this endpoint.")
@click.option(
    "--level", "levels", multiple=True, type=click.IntRange(1, 4),
    help="Judge this level; may be given several times. By default those that the peer announces.",
)  # fmt: skip
@click.option("--check", "names", multiple=True, metavar="NAME", help="Make this check; may be given several times.")
@click.option("--list", "listed", is_flag=True, help="Show all checks, and judge nobody.")
@timeout_option(4.0, "each answer")
@click.option(
    "--wait", type=Number(min=0, min_open=True, max=86_400), default=60.0, show_default=True,
    help="Seconds for the engine's driver to come.",
)  # fmt: skip
@json_option("Print one JSON document.")
def conformance(
    endpoint: str | None,
    listen: str | None,
    levels: tuple[int, ...],
    names: tuple[str, ...],
    listed: bool,
    timeout: float,
    wait: float,
    as_json: bool,
) -> int:
    """Judge whether a container, or an engine, of any language keeps to the protocol.

    Each check stands for a rule of docs/protocol.md. What the container has to offer, and what the engine's driver has
    to do, docs/how-to/conformance.md tells. A container has ended when all checks were made: the last one drains it.

    \b
    Exit codes: 0 all that was judged passed, 1 a check failed, 2 the container is unreachable,
    3 no driver has come, 64 wrong usage, 71 cannot bind.
    """
    from .conformance import list_checks
    from .conformance import run as run_conformance

    if listed:
        return list_checks(as_json=as_json)
    if (endpoint is None) == (listen is None):
        raise click.UsageError("give ENDPOINT, of a container, or --listen ENDPOINT, for an engine")
    return run_conformance(
        listen or endpoint or "",
        listen=listen is not None,
        levels=levels,
        names=names,
        timeout=timeout,
        wait=wait,
        as_json=as_json,
    )


@mpzmq.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def ping(args: tuple[str, ...]) -> int:
    """Measure the round trip; also a readiness or liveness probe."""
    # Only for the list of commands, and for `mpzmq ping` after an option of mpzmq: cli/__init__.py takes the short way.
    from .ping import main as run_ping

    return run_ping(args)
