"""``mpzmq schema`` and ``mpzmq stubs``, as click sees them. What they do is imported when they are called."""

from __future__ import annotations

import click

from .options import connecting, examples, json_option, timeout_option

__all__ = ["schema", "stubs"]


@click.command(
    epilog=examples(
        "mpzmq schema 127.0.0.1:3010 > shop.json",
        "mpzmq schema diff shop.json 127.0.0.1:3010",
        "mpzmq schema diff shop-1.json shop-2.json --json",
    )
)
@click.argument("words", nargs=-1, required=True, metavar="ENDPOINT | diff OLD NEW")
@timeout_option(10.0)
@connecting
@json_option("Print what breaks as one JSON document; a schema is one anyway.")
def schema(words: tuple[str, ...], timeout: float, keys: str | None, server_key: str | None, as_json: bool) -> int:
    """Print what the typed functions of a container take and return, or compare two versions of that.

    A schema is a JSON document: under "functions" the JSON Schema of the parameters and of the result of each.

    "diff" tells what a caller that was written for OLD cannot rely on with NEW: a function that is gone, a parameter
    without a default, a type that is narrower for what is passed or wider for what comes back, and the like. Both are
    files or endpoints.

    \b
    Exit codes: 0 nothing breaks, 1 something does, or the request failed, 2 unreachable, 3 timeout,
    64 wrong usage, 65 no JSON.
    """
    from .schema import diff, show

    security = keys, server_key
    if words[0] == "diff":
        if len(words) != 3:
            raise click.UsageError("schema diff takes OLD and NEW: two files, or endpoints.")
        return diff(words[1], words[2], timeout=timeout, security=security, as_json=as_json)
    if len(words) != 1:
        raise click.UsageError("schema takes one ENDPOINT, or diff OLD NEW.")
    return show(words[0], timeout=timeout, security=security)


@click.command(epilog=examples("mpzmq stubs 127.0.0.1:3010 --name Shop > shop_client.py"))
@click.argument("endpoint")
@click.option("--name", default="Container", show_default=True, help="The name of the interface.")
@timeout_option(10.0)
@connecting
def stubs(endpoint: str, name: str, timeout: float, keys: str | None, server_key: str | None) -> int:
    """Print a module with an interface for the typed functions of a container, and with the types that it needs.

    ENDPOINT may be a file that "mpzmq schema" has printed. What the module has is for container.of(): a Protocol with
    async def for calls, and def for streams.
    """
    from .schema import stubs as written

    return written(endpoint, name, timeout=timeout, security=(keys, server_key))
