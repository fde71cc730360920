"""Options of every command that starts containers; each is an environment variable, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import Number, checked_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    Option = Callable[[Any], Any]

__all__ = [
    "access_log_option",
    "allow_option",
    "app_dir_option",
    "drain_timeout_option",
    "label_option",
    "log_level_option",
    "loop_option",
]


def allow_option() -> Option:
    """``--allow``."""
    return click.option(
        "--allow", metavar="PATH", envvar="MPZMQ_ALLOW", show_envvar=True,
        help="A folder of public keys, or a TOML file, of those who get in.",
    )  # fmt: skip


def app_dir_option() -> Option:
    """``--app-dir``."""
    return click.option(
        "--app-dir", default=".", show_default=True, envvar="MPZMQ_APP_DIR", show_envvar=True,
        type=click.Path(exists=True, file_okay=False), help="Where the module is looked for first.",
    )  # fmt: skip


def drain_timeout_option() -> Option:
    """``--drain-timeout``."""
    return click.option(
        "--drain-timeout", type=Number(min=0, max=86_400), default=8.0, show_default=True,
        envvar="MPZMQ_DRAIN_TIMEOUT", show_envvar=True, help="Seconds for running work after a SIGTERM or Ctrl-C.",
    )  # fmt: skip


def loop_option() -> Option:
    """``--loop``."""
    return click.option(
        "--loop", type=click.Choice(["auto", "asyncio", "uvloop"]), default="auto", show_default=True,
        envvar="MPZMQ_LOOP", show_envvar=True, help="The event loop; auto is uvloop where it is installed.",
    )  # fmt: skip


def label_option(what: str) -> Option:
    """``--label``, and who hears of it."""
    return click.option(
        "--label", "labels", metavar="KEY=VALUE", multiple=True, callback=checked_labels, envvar="MPZMQ_LABEL",
        show_envvar=True, help=what,
    )  # fmt: skip


def log_level_option(what: str) -> Option:
    """``--log-level``, and whose."""
    return click.option(
        "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True,
        envvar="MPZMQ_LOG_LEVEL", show_envvar=True, help=what,
    )  # fmt: skip


def access_log_option() -> Option:
    """``--access-log``."""
    return click.option(
        "--access-log", is_flag=True, envvar="MPZMQ_ACCESS_LOG", show_envvar=True,
        help="Log each request when it has ended: its outcome, its times, and who asked.",
    )  # fmt: skip
