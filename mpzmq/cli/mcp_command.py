"""``mpzmq mcp``, as click sees it. What it does is imported when it is called."""

from __future__ import annotations

import click

from .exposing import allowing
from .options import connecting, examples, json_option, timeout_option
from .serving_options import log_level_option

__all__ = ["mcp"]

DRAIN_WITHIN = 8.0
"""Seconds for HTTP requests that are under way when a signal comes."""


@click.command(
    epilog=examples(
        "mpzmq mcp 127.0.0.1:3010 --allow add count",
        "mpzmq mcp dns://calc:3010 --allow add --http 127.0.0.1:8931",
    )
)
@allowing("that becomes a tool")
@click.option("--http", metavar="HOST:PORT", help="Listen there over HTTP, in place of stdin and stdout.")
@click.option(
    "--host-name", "host_names", metavar="NAME", multiple=True,
    help="With --http: a name under which it is asked, besides the address; others are refused.",
)  # fmt: skip
@click.option("--insecure", is_flag=True, help="With --http: allow an address that other hosts can reach.")
@connecting
@timeout_option(30.0, "a call")
@log_level_option("What it logs to stderr.")
@json_option("With --http: print the URL as one JSON document.")
def mcp(
    source: str,
    allowed: tuple[str, ...],
    http: str | None,
    host_names: tuple[str, ...],
    insecure: bool,
    keys: str | None,
    server_key: str | None,
    timeout: float,
    log_level: str,
    as_json: bool,
) -> int:
    """Offer functions to agents as tools, by the Model Context Protocol.

    It speaks over stdin and stdout, as the program that starts it wants, or over HTTP with --http. SOURCE is an
    endpoint, several with commas, or one such as dns://calc:3010. Only allow what you would let an agent do: nobody is
    asked who they are.

    It ends with its stdin, or with SIGTERM or Ctrl-C.

    \b
    Exit codes: 0 ended by a signal or its stdin, 64 wrong usage, 69 the extra 'mcp' is missing, 71 cannot
    listen, 77 other hosts could reach it, 78 bad keys.
    """
    from ..address import parse_zmq_address
    from .http_serving import Listening
    from .mcp import run

    listening = None
    if http is not None:
        try:
            address = parse_zmq_address(http, bind=True)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'--http'") from None
        listening = Listening(address.host, address.port, host_names, insecure, DRAIN_WITHIN, "asyncio")
    elif host_names or insecure or as_json:
        raise click.UsageError("--host-name, --insecure and --json are for --http")
    return run(
        source, allowed, (keys, server_key), timeout=timeout, listening=listening, log_level=log_level, as_json=as_json
    )
