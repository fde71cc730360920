"""``mpzmq stats``: the counters of containers, by function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.text import printable
from ..statistics import plain
from .inquiry import Told, inquire
from .layout import say_wrapped, table_lines
from .output import say

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..engine.writer import ComputerEngineWriter
    from ..statistics import FunctionStatistics, ServerStatistics
    from .inquiry import Keys

__all__ = ["in_milliseconds", "stats"]

_HEADINGS = ("function", "replied", "failed", "refused", "cancelled", "running", "queued", "p50", "p99")


def stats(endpoint: str, *, timeout: float, security: Keys = (None, None), every: bool = False, as_json: bool) -> int:
    """Prints a container's counters, or those of every one; returns the exit code."""

    def ask(handle: ComputerEngineWriter) -> Awaitable[ServerStatistics]:
        return handle.get_statistics(timeout=timeout, wait=not every)

    told = Told(plain, _show, _show_member)
    return inquire("mpzmq stats", endpoint, ask, told, timeout, security, every=every, as_json=as_json)


def _show_member(name: str, found: ServerStatistics) -> None:
    say_wrapped("", f"{printable(name)}:")
    _show(found)


def _show(found: ServerStatistics) -> None:
    say_wrapped(
        "",
        f"{found.received} received: {found.replied} replied, {found.failed} failed, {found.refused} refused,"
        f" {found.cancelled} cancelled, {found.in_flight} in flight",
    )
    say_wrapped("", f"{found.sessions} engines are connected, {found.waiting_bytes} bytes wait for them")
    if not found.functions:
        return
    rows = [_HEADINGS, *(_row(name, one) for name, one in sorted(found.functions.items()))]
    for line in table_lines(rows):
        say(line)


def _row(name: str, one: FunctionStatistics) -> tuple[str, ...]:
    counts = one.replied, one.failed, one.refused, one.cancelled, one.running, one.queued
    return (printable(name), *map(str, counts), in_milliseconds(one.p50), in_milliseconds(one.p99))


def in_milliseconds(seconds: float | None) -> str:
    """A time as it is read at a glance."""
    return "-" if seconds is None else f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
