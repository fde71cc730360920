"""Options that several commands have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Number", "all_option", "checked_labels", "connecting", "examples", "json_option", "timeout_option"]


class Number(click.FloatRange):
    """A number within a range; NaN, which compares with nothing, is within none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number.", param, ctx) if math.isnan(number) else number


def examples(*lines: str) -> str:
    """The end of a help text."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def json_option(what: str) -> Callable[[Any], Any]:
    """``--json``, and what it does."""
    return click.option("--json", "as_json", is_flag=True, help=what)


def timeout_option(seconds: float, what: str = "the answer") -> Callable[[Any], Any]:
    """``--timeout``, and for what."""
    kind = Number(min=0, min_open=True, max=86_400)
    return click.option("--timeout", type=kind, default=seconds, show_default=True, help=f"Seconds for {what}.")


def all_option() -> Callable[[Any], Any]:
    """``--all``."""
    return click.option(
        "--all", "every", is_flag=True, help="Ask every container of a source (dns://..., or several with commas)."
    )


def checked_labels(_: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Labels, as ``--label KEY=VALUE`` gives them."""
    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{text!r} is no label: KEY=VALUE, as in gpu=1.", param=parameter)
        labels[key] = value
    return labels


def connecting(function: Any) -> Any:
    """The options of every command that talks to a container which may have keys."""
    options = [
        click.option(
            "--keys", metavar="FILE", envvar="MPZMQ_KEYS", show_envvar=True, help="This side's secret key.",
        ),
        click.option(
            "--server-key", metavar="KEY", envvar="MPZMQ_SERVER_KEY", show_envvar=True,
            help="The container's public key, or the file that holds it.",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function
