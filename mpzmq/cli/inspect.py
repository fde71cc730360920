"""``mpzmq describe`` and ``mpzmq state``: what containers offer, and their run states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.text import printable
from ..models import Status
from .inquiry import Told, inquire
from .layout import fits, say_wrapped
from .output import say

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..engine.writer import ComputerEngineWriter
    from ..models import Description
    from .inquiry import Keys

__all__ = ["describe", "state"]


def describe(
    endpoint: str, *, timeout: float, security: Keys = (None, None), every: bool = False, as_json: bool
) -> int:
    """Prints a container's functions, or those of every one; returns the exit code."""

    def ask(handle: ComputerEngineWriter) -> Awaitable[Description]:
        return handle.describe(timeout=timeout, wait=not every)

    told = Told(_document, _show, _show_member)
    return inquire("mpzmq describe", endpoint, ask, told, timeout, security, every=every, as_json=as_json)


def state(
    endpoint: str,
    wanted: str | None,
    *,
    timeout: float,
    security: Keys = (None, None),
    every: bool = False,
    as_json: bool,
) -> int:
    """Prints a container's run state, or that of each, after setting it where one is wanted; returns the exit code.

    Args:
        endpoint: of the container, or a source.
        wanted: the state to be set; None: none.
        timeout: seconds for the answer.
        security: what ``--keys`` and ``--server-key`` say.
        every: whether all members of the source are asked.
        as_json: whether it is printed as JSON.
    """

    def ask(handle: ComputerEngineWriter) -> Awaitable[Status]:
        if wanted is None:
            return handle.get_state(timeout=timeout, wait=not every)
        return handle.set_state(Status(wanted), timeout=timeout, wait=not every)

    told: Told[Status] = Told(lambda found: {"status": str(found)}, say, _show_state, member_document=str)
    return inquire("mpzmq state", endpoint, ask, told, timeout, security, every=every, as_json=as_json)


def _document(found: Description) -> dict[str, object]:
    return {
        "name": found.name,
        "instance": str(found.instance),
        "version": found.version,
        "status": str(found.status),
        "invokes": found.invokes,
        "functions": [
            {"name": function.name, "signature": function.signature, "doc": function.doc}
            for function in found.functions
        ],
    }


def _show_state(name: str, found: str) -> None:
    say(f"{printable(name)}  {found}")


def _show_member(name: str, found: Description) -> None:
    say_wrapped("", f"{printable(name)}:")
    _show(found)


def _show(found: Description) -> None:
    say_wrapped(
        "", f"{printable(found.name)}  {found.status}  mpzmq {printable(found.version)}  instance {found.instance}"
    )
    if found.invokes:
        say_wrapped("  ", "takes plain requests (--invoke JSON)")
    shown = [printable(function.name + function.signature) for function in found.functions]
    # On a narrow terminal, what a function does stands below it.
    width = min(max(map(len, shown), default=0), 48)
    for function, text in zip(found.functions, shown, strict=True):
        doc = printable(function.doc)
        if fits(f"  {text.ljust(width)}  {doc}"):
            say(f"  {text.ljust(width)}  {doc}".rstrip())
            continue
        say_wrapped("  ", text)
        if doc:
            say_wrapped("      ", doc)
    if not found.functions and not found.invokes:
        say_wrapped("  ", "it offers nothing yet: add @server.function or @server.on_invoke")
