"""Whether `mpzmq serve` would understand a command."""

from __future__ import annotations

from mpzmq.cli.commands import mpzmq

__all__ = ["options_of", "understood"]


def understood(words: list[str]) -> None:
    """Fails if not. The command is the last part of a path; nothing is served."""
    program, command, *args = words
    assert (program.rpartition("/")[2], command) == ("mpzmq", "serve")
    with mpzmq.commands["serve"].make_context("serve", list(args)):
        pass


def options_of(words: list[str]) -> dict[str, str]:
    """What stands behind the equals sign of each option."""
    return {name: value for name, _, value in (word.partition("=") for word in words) if name.startswith("--")}
