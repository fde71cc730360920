"""``mpzmq keys``, as click sees it. What it does is imported when it is called."""

from __future__ import annotations

import click

__all__ = ["keys"]

_EXAMPLES = """\b
Examples:
  mpzmq keys new container
  mpzmq keys new engine
  mpzmq keys allow allowed engine.pub
  mpzmq serve app:server --bind tcp://0.0.0.0:3010 --keys container.key --allow allowed
  mpzmq call host:3010 add 1 2 --keys engine.key --server-key container.pub"""


@click.group(epilog=_EXAMPLES)
def keys() -> None:
    """Make keys, show them, and say whose get in."""


@keys.command()
@click.argument("name")
def new(name: str) -> int:
    """Make a pair of keys: NAME.key, readable by its owner only, and NAME.pub for those who are to know it."""
    from .keys import new as run

    return run(name)


@keys.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
def show(paths: tuple[str, ...]) -> int:
    """Show public keys: of key files, and of the folders and TOML files that list who gets in."""
    from .keys import show as run

    return run(paths)


@keys.command()
@click.argument("folder")
@click.argument("key")
@click.option("--name", help="What the key stands for; by default the name of its file.")
@click.option(
    "--function", "functions", multiple=True, metavar="NAME",
    help="What may be called, or state:get, state:set, functions:describe, stats, data:invoke; by default all.",
)  # fmt: skip
def allow(folder: str, key: str, name: str | None, functions: tuple[str, ...]) -> int:
    """Let a public key in: a container that runs with --allow FOLDER reads it within a second.

    Under a name that is there already the key is added, so that its owner can change from one to the other.
    """
    from .keys import allow as run

    return run(folder, key, name, functions)


@keys.command()
@click.argument("folder")
@click.argument("key", metavar="NAME|KEY")
def revoke(folder: str, key: str) -> int:
    """Lock a name out, with all its keys, or one public key: its engines are cut off within a second."""
    from .keys import revoke as run

    return run(folder, key)
