"""The commands, as click sees them. What they do is imported when they are called."""

from __future__ import annotations

import difflib
import platform
import re
from typing import Any

import click
from click.core import ParameterSource

from .._version import __version__
from .key_commands import keys
from .manifest_command import manifest
from .options import Number, all_option, checked_labels, connecting, examples, json_option, timeout_option
from .output import FAILED, INTERRUPTED, USAGE, give_up_stdout, print_error
from .schema_commands import schema, stubs
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


def _served(function: Any) -> Any:
    """The options that every serving command has; each is an environment variable, too."""
    loops = click.Choice(["auto", "asyncio", "uvloop"])
    options = [
        click.option(
            "--bind", "endpoints", multiple=True, metavar="ENDPOINT", envvar="MPZMQ_BIND", show_envvar=True,
            default=("tcp://127.0.0.1:0",), show_default=True, help="Where to serve; may be given several times.",
        ),
        click.option(
            "--insecure", is_flag=True, envvar="MPZMQ_INSECURE", show_envvar=True,
            help="Allow endpoints that other hosts can reach, without keys.",
        ),
        click.option(
            "--keys", metavar="FILE", envvar="MPZMQ_KEYS", show_envvar=True,
            help="The container's secret key: who is not on the list of --allow is refused.",
        ),
        click.option(
            "--allow", metavar="PATH", envvar="MPZMQ_ALLOW", show_envvar=True,
            help="A folder of public keys, or a TOML file, of those who get in.",
        ),
        click.option(
            "--drain-timeout", type=Number(min=0, max=86_400), default=8.0, show_default=True,
            envvar="MPZMQ_DRAIN_TIMEOUT", show_envvar=True, help="Seconds for running work after a SIGTERM or Ctrl-C.",
        ),
        click.option(
            "--loop", type=loops, default="auto", show_default=True, envvar="MPZMQ_LOOP", show_envvar=True,
            help="The event loop; auto is uvloop where it is installed.",
        ),
        json_option("Print each endpoint as one JSON document."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


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


mpzmq.add_command(keys)
mpzmq.add_command(manifest)
mpzmq.add_command(schema)
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


@mpzmq.command(
    epilog=examples(
        "mpzmq serve container:server --bind tcp://127.0.0.1:3010",
        "mpzmq serve container:server --app-dir src --reload",
        "MPZMQ_BIND=tcp://0.0.0.0:3010 MPZMQ_INSECURE=1 mpzmq serve container:server",
        "mpzmq serve container:server --join engine.example:3011 --token-file token",
    )
)
@click.argument("server", metavar="MODULE:SERVER")
@_served
@click.option(
    "--app-dir", default=".", show_default=True, envvar="MPZMQ_APP_DIR", show_envvar=True,
    type=click.Path(exists=True, file_okay=False), help="Where the module is looked for first.",
)  # fmt: skip
@click.option(
    "--announce", metavar="DIR", envvar="MPZMQ_ANNOUNCE", show_envvar=True,
    help="Say in a file there where it serves, for groups that follow dir://DIR.",
)  # fmt: skip
@click.option(
    "--label", "labels", metavar="KEY=VALUE", multiple=True, callback=checked_labels, envvar="MPZMQ_LABEL",
    show_envvar=True,
    help="A label, which group.where() chooses by; announced, or told to a joined engine; may be given several times.",
)  # fmt: skip
@click.option(
    "--weight", type=Number(0, 1e6, min_open=True), default=1.0, show_default=True, metavar="W",
    envvar="MPZMQ_WEIGHT", show_envvar=True, help="Announce its share of the requests, against the others'.",
)  # fmt: skip
@click.option(
    "--join", metavar="HOST:PORT", envvar="MPZMQ_JOIN", show_envvar=True,
    help="Dial an engine that accepts containers, and serve it. Binds nowhere then, unless --bind is given.",
)  # fmt: skip
@click.option(
    "--token-file", metavar="FILE", envvar="MPZMQ_TOKEN_FILE", show_envvar=True,
    help="The token by which that engine lets it in; read again at each dial.",
)  # fmt: skip
@click.option(
    "--name", metavar="NAME", envvar="MPZMQ_NAME", show_envvar=True,
    help="What it is called in the group of that engine; by default the server's name.",
)  # fmt: skip
@click.option(
    "--admin", metavar="HOST:PORT", envvar="MPZMQ_ADMIN", show_envvar=True,
    help="Where to answer over HTTP how it is: /livez, /readyz, /status.json, /metrics, and / for people.",
)  # fmt: skip
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True,
    envvar="MPZMQ_LOG_LEVEL", show_envvar=True, help="What is logged to stderr.",
)  # fmt: skip
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
    envvar="MPZMQ_LOG_FORMAT", show_envvar=True, help="How it is logged; json is one object a line.",
)  # fmt: skip
@click.option(
    "--access-log", is_flag=True, envvar="MPZMQ_ACCESS_LOG", show_envvar=True,
    help="Log each request when it has ended: its outcome, its times, and who asked.",
)  # fmt: skip
@click.option(
    "--reload", is_flag=True, envvar="MPZMQ_RELOAD", show_envvar=True,
    help="Start again whenever a Python file in the app-dir changes.",
)  # fmt: skip
@click.option("--child", "is_child", is_flag=True, hidden=True)
def serve(
    server: str,
    endpoints: tuple[str, ...],
    insecure: bool,
    keys: str | None,
    allow: str | None,
    drain_timeout: float,
    loop: str,
    as_json: bool,
    app_dir: str,
    announce: str | None,
    labels: dict[str, str],
    weight: float,
    join: str | None,
    token_file: str | None,
    name: str | None,
    admin: str | None,
    log_level: str,
    log_format: str,
    access_log: bool,
    reload: bool,
    is_child: bool,
) -> int:
    """Serve a ContainerServer, named as MODULE:SERVER, until SIGTERM or Ctrl-C.

    Prints the endpoint on stdout once it serves there. The first signal drains, a second one closes at once.

    \b
    Exit codes: 0 ended by a signal, 1 the server failed, 64 wrong usage,
    66 no such module or server, 71 cannot bind, 77 other hosts could reach it,
    78 no such keys, or no such token.
    """
    from .serve import serve as run_serve
    from .serve import serve_reloading

    if is_child:  # of mpzmq up, whose environment is not meant for it
        reload, admin, as_json, join, token_file, name = False, None, False, None, None, None
    if announce is None and weight != 1.0:
        raise click.UsageError("--weight is announced: it needs --announce DIR.")
    if announce is None and join is None and labels:
        raise click.UsageError("--label is announced, or told to an engine: it needs --announce or --join.")
    engine = None
    if join is not None:
        if token_file is None:
            raise click.UsageError("--join needs --token-file FILE, with the token by which the engine lets it in.")
        engine = join, token_file, name
        if click.get_current_context().get_parameter_source("endpoints") is ParameterSource.DEFAULT:
            endpoints = ()
    elif token_file is not None or name is not None:
        raise click.UsageError("--token-file and --name are for an engine that is joined: they need --join HOST:PORT.")
    if not reload:
        return run_serve(
            server,
            endpoints,
            folder=app_dir,
            insecure=insecure,
            security=(keys, allow),
            announce=announce,
            labels=labels,
            weight=weight,
            join=engine,
            admin=admin,
            drain_timeout=drain_timeout,
            log_level=log_level,
            log_format=log_format,
            access_log=access_log,
            loop=loop,
            as_json=as_json,
            is_child=is_child,
        )
    switches = (("--insecure", insecure), ("--json", as_json), ("--access-log", access_log))
    flags = [flag for flag, given in switches if given]
    paths = (("--keys", keys), ("--allow", allow), ("--announce", announce), ("--admin", admin))
    paths += (("--join", join), ("--token-file", token_file), ("--name", name))
    named = [word for option, value in paths if value for word in (option, value)]
    named += [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    settings = ["--loop", loop, "--log-level", log_level, "--log-format", log_format, "--weight", str(weight)]
    options = [*settings, *flags, *named]
    return serve_reloading(server, endpoints, folder=app_dir, drain_timeout=drain_timeout, options=options)


@mpzmq.command(
    epilog=examples(
        "mpzmq reply --bind 127.0.0.1:3010",
        "mpzmq reply --bind 127.0.0.1:3010 --sleep 0.2",
        "mpzmq reply --bind 127.0.0.1:3010 --fail-rate 0.1",
    )
)
@_served
@click.option("--echo", is_flag=True, help="Return what is sent: what it does by default.")
@click.option("--sleep", type=Number(min=0, max=86_400), default=0.0, metavar="S", help="Work for S seconds first.")
@click.option("--fail-rate", type=Number(0, 1), default=0.0, metavar="P", help="Fail with probability P.")
def reply(
    endpoints: tuple[str, ...],
    insecure: bool,
    keys: str | None,
    allow: str | None,
    drain_timeout: float,
    loop: str,
    as_json: bool,
    echo: bool,
    sleep: float,
    fail_rate: float,
) -> int:
    """Serve a ready-made container for trials: plain requests and the function echo return what they are sent."""
    from .serve import reply as run_reply

    return run_reply(
        endpoints,
        sleep=sleep,
        fail_rate=fail_rate,
        insecure=insecure,
        security=(keys, allow),
        drain_timeout=drain_timeout,
        loop=loop,
        as_json=as_json,
    )


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
