"""Which functions a command opens to others: ``--allow NAME...``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["allowing"]


def allowing(what: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """``SOURCE``, ``--allow NAME``, and names that follow: the command is given ``source`` and ``allowed``.

    Args:
        what: a function becomes of it, for the help.
    """

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @click.argument("source")
        @click.argument("more", metavar="[NAME]...", nargs=-1)
        @click.option(
            "--allow", "allowed", metavar="NAME", multiple=True, required=True,
            help=f"A function {what}; other names may follow, or it is given several times. '*' is every function.",
        )  # fmt: skip
        @functools.wraps(command)
        def checked(*, more: tuple[str, ...], allowed: tuple[str, ...], **options: Any) -> int:
            for name in more:
                if "://" in name or name.rpartition(":")[2].isdecimal():
                    raise click.UsageError(
                        f"{name} is no name of a function; several endpoints are one SOURCE, with commas"
                    )
            return command(allowed=allowed + more, **options)

        return checked

    return decorate
