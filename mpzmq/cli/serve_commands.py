"""``mpzmq serve`` and ``mpzmq reply``, as click sees them."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from .options import Number, examples, json_option
from .serving_options import (
    access_log_option,
    allow_option,
    app_dir_option,
    drain_timeout_option,
    label_option,
    log_level_option,
    loop_option,
)

__all__ = ["reply", "serve"]


def _served(function: Any) -> Any:
    """The options that every serving command has; each is an environment variable, too."""
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
        allow_option(),
        drain_timeout_option(),
        loop_option(),
        json_option("Print each endpoint as one JSON document."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command(
    epilog=examples(
        "mpzmq serve container:server --bind tcp://127.0.0.1:3010",
        "mpzmq serve container:server --app-dir src --reload",
        "MPZMQ_BIND=tcp://0.0.0.0:3010 MPZMQ_INSECURE=1 mpzmq serve container:server",
        "mpzmq serve container:server --join engine.example:3011 --token-file token --keys key --engine-key engine.pub",
    )
)
@click.argument("server", metavar="MODULE:SERVER")
@_served
@app_dir_option()
@click.option(
    "--announce", metavar="DIR", envvar="MPZMQ_ANNOUNCE", show_envvar=True,
    help="Say in a file there where it serves, for groups that follow dir://DIR.",
)  # fmt: skip
@label_option(
    "A label, which group.where() chooses by; announced, or told to a joined engine; may be given several times."
)
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
    "--engine-key", metavar="KEY", envvar="MPZMQ_ENGINE_KEY", show_envvar=True,
    help="That engine's public key, or the file that holds it; with --keys, the container's own.",
)  # fmt: skip
@click.option(
    "--admin", metavar="HOST:PORT", envvar="MPZMQ_ADMIN", show_envvar=True,
    help="Where to answer over HTTP how it is: /livez, /readyz, /status.json, /metrics, and / for people.",
)  # fmt: skip
@log_level_option("What is logged to stderr.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
    envvar="MPZMQ_LOG_FORMAT", show_envvar=True, help="How it is logged; json is one object a line.",
)  # fmt: skip
@access_log_option()
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
    engine_key: str | None,
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
    from .serve import EngineToJoin, serve_reloading
    from .serve import serve as run_serve

    if is_child:  # of mpzmq up, whose environment is not meant for it
        reload, admin, as_json, join, token_file, name, engine_key = False, None, False, None, None, None, None
    if announce is None and weight != 1.0:
        raise click.UsageError("--weight is announced: it needs --announce DIR.")
    if announce is None and join is None and labels:
        raise click.UsageError("--label is announced, or told to an engine: it needs --announce or --join.")
    engine = None
    if join is not None:
        if token_file is None and engine_key is None:
            raise click.UsageError("--join needs --token-file FILE, with the token by which the engine lets it in.")
        engine = EngineToJoin(join, token_file, name, engine_key)
        if click.get_current_context().get_parameter_source("endpoints") is ParameterSource.DEFAULT:
            endpoints = ()
    elif token_file or name or engine_key:
        text = "--token-file, --name and --engine-key are for an engine that is joined: they need --join HOST:PORT."
        raise click.UsageError(text)
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
    paths = [("--keys", keys), ("--allow", allow), ("--announce", announce), ("--admin", admin)]
    paths += [("--join", join), ("--token-file", token_file), ("--name", name), ("--engine-key", engine_key)]
    named = [word for option, value in paths if value for word in (option, value)]
    named += [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    settings = ["--loop", loop, "--log-level", log_level, "--log-format", log_format, "--weight", str(weight)]
    options = [*settings, *flags, *named]
    return serve_reloading(server, endpoints, folder=app_dir, drain_timeout=drain_timeout, options=options)


@click.command(
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
