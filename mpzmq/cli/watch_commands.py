"""``mpzmq stats`` and ``mpzmq top``, as click sees them."""

from __future__ import annotations

import click

from .options import Number, all_option, connecting, examples, json_option, timeout_option

__all__ = ["stats", "top"]


@click.command(epilog=examples("mpzmq stats 127.0.0.1:3010", "mpzmq stats dns://calc:3010 --all --json"))
@click.argument("endpoint")
@timeout_option(5.0)
@connecting
@all_option()
@json_option("Print one JSON document.")
def stats(endpoint: str, timeout: float, keys: str | None, server_key: str | None, every: bool, as_json: bool) -> int:
    """Show a container's counters, by function."""
    from .stats import stats as run_stats

    return run_stats(endpoint, timeout=timeout, security=(keys, server_key), every=every, as_json=as_json)


@click.command(
    epilog=examples(
        "mpzmq top 127.0.0.1:3010 127.0.0.1:3011",
        "mpzmq top dns://calc:3010 --functions --sort requests",
        "mpzmq top dir:///run/calc --once --json",
    )
)
@click.argument("sources", nargs=-1, required=True, metavar="ENDPOINT...")
@click.option("--once", is_flag=True, help="Print what there is to see of one interval, and end.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End when it was shown N times.")
@click.option(
    "--interval", type=Number(min=0.1, max=86_400), default=1.0, show_default=True, help="Seconds between two looks.",
)  # fmt: skip
@click.option("--functions", "by_function", is_flag=True, help="Show each function of a container, too.")
@click.option(
    "--sort", type=click.Choice(["name", "requests", "errors", "in-flight", "p99", "rtt"]), default="name",
    show_default=True, help="What the containers are sorted by.",
)  # fmt: skip
@timeout_option(5.0, "each answer")
@connecting
@json_option("Print a JSON document in place of each table.")
def top(
    sources: tuple[str, ...],
    once: bool,
    count: int | None,
    interval: float,
    by_function: bool,
    sort: str,
    timeout: float,
    keys: str | None,
    server_key: str | None,
    as_json: bool,
) -> int:
    """Watch containers live: state, round trip, requests and errors a second, p50 and p99.

    ENDPOINT may be a source, such as dns://calc:3010 or dir:///run/calc, whose containers come and go.

    Keys: q ends it, f shows functions, and n, r, e, i, p, t sort by name, requests, errors, in flight, p99 and round
    trip. Where stdout is no terminal, each interval is printed as a table.

    \b
    Exit codes: 0 ended by q, Ctrl-C or --count; of --once: 0 a container answered, 2 none did,
    130 interrupted; 64 wrong usage.
    """
    from .top.command import Options
    from .top.command import top as run_top
    from .top.table import View

    if once and count is not None:
        raise click.UsageError("--once is --count 1: give one of them")
    options = Options(once, count, interval, timeout, View(sort, by_function), as_json)
    return run_top(sources, options, (keys, server_key))
