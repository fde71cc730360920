"""``mpzmq gateway``, as click sees it. What it does is imported when it is called."""

from __future__ import annotations

import click

from .exposing import allowing
from .options import connecting, examples, json_option, timeout_option
from .serving_options import drain_timeout_option, log_level_option, loop_option

__all__ = ["gateway"]


@click.command(
    epilog=examples(
        "mpzmq gateway 127.0.0.1:3010 --allow add count",
        "mpzmq gateway dns://calc:3010 --allow add --port 8000 --pass-header X-User",
        "mpzmq gateway dir:///run/calc --allow '*' --host 0.0.0.0 --host-name calc.example.com --insecure",
    )
)
@allowing("that may be called")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address at which it listens.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Its port; 0 is any that is free.",
)  # fmt: skip
@click.option(
    "--host-name", "host_names", metavar="NAME", multiple=True,
    help="A name with dots under which it is asked, as a proxy in front hands on; others are refused.",
)  # fmt: skip
@click.option("--insecure", is_flag=True, help="Allow an address that other hosts can reach.")
@connecting
@timeout_option(30.0, "a call at most")
@click.option(
    "--pass-header", "headers", metavar="NAME", multiple=True,
    help="A header that goes along as metadata, such as one by which a proxy says who asks.",
)  # fmt: skip
@click.option(
    "--max-body", type=click.IntRange(1, 1 << 30), default=1024 * 1024, show_default=True, metavar="BYTES",
    help="Of a body, or of a line of one that comes piece by piece.",
)  # fmt: skip
@click.option(
    "--max-requests", type=click.IntRange(1, 100_000), default=1000, show_default=True, metavar="N",
    help="That are under way at the same time; others are answered with 429.",
)  # fmt: skip
@drain_timeout_option()
@loop_option()
@log_level_option("What it logs to stderr.")
@json_option("Print the URL as one JSON document.")
def gateway(
    source: str,
    allowed: tuple[str, ...],
    host: str,
    port: int,
    host_names: tuple[str, ...],
    insecure: bool,
    keys: str | None,
    server_key: str | None,
    timeout: float,
    headers: tuple[str, ...],
    max_body: int,
    max_requests: int,
    drain_timeout: float,
    loop: str,
    log_level: str,
    as_json: bool,
) -> int:
    """Let HTTP clients call functions: POST /call/NAME with JSON.

    Prints its URL on stdout once it listens. SOURCE is an endpoint, several with commas, or one such as
    dns://calc:3010. It asks nobody who they are: that is for a proxy in front. GET /openapi.json describes the
    functions.

    SIGTERM or Ctrl-C lets requests end that are under way, a second one does not.

    \b
    Exit codes: 0 ended by a signal, 64 wrong usage, 69 the extra 'gateway' is missing, 71 cannot listen,
    77 other hosts could reach it, 78 bad keys.
    """
    from .gateway import Opened, run
    from .http_serving import Listening

    opened = Opened(allowed, headers, {"timeout": timeout, "max_body": max_body, "max_requests": max_requests})
    listening = Listening(host, port, host_names, insecure, drain_timeout, loop)
    return run(source, opened, listening, (keys, server_key), log_level=log_level, as_json=as_json)
