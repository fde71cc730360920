"""``mpzmq describe`` and ``mpzmq state``: what containers offer, and their run states."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..common.text import printable
from ..errors import MpzmqError
from ..models import Status
from .arguments import client_security
from .layout import fits, say_wrapped
from .members import ask_all, group_of, tell_all
from .outcome import as_document, carry_out, code_of
from .output import OK, say, say_json
from .remote import CONNECT_WITHIN, reached

if TYPE_CHECKING:
    from ..engine.writer import ComputerEngineWriter
    from ..models import Description

__all__ = ["describe", "state"]

Keys = tuple[str | None, str | None]
"""What ``--keys`` and ``--server-key`` say."""


def describe(
    endpoint: str, *, timeout: float, security: Keys = (None, None), every: bool = False, as_json: bool
) -> int:
    """Prints a container's functions, or those of every one; returns the exit code."""

    async def ask_everyone() -> int:
        within = min(timeout, CONNECT_WITHIN)
        async with group_of(endpoint, within, client_security(*security)) as group:
            results, errors = await ask_all(group, within, lambda handle: handle.describe(timeout=timeout, wait=False))
        shown = {name: _document(found) for name, found in results.items()} if as_json else results
        return tell_all("mpzmq describe", shown, errors, as_json=as_json, show=_show_member)

    async def ask() -> int:
        try:
            async with reached(endpoint, timeout, client_security(*security)) as container:
                found = await container.describe(timeout=timeout)
        except MpzmqError as error:
            raise _told(error, as_json) from None
        if as_json:
            say_json(json.dumps(_document(found), ensure_ascii=False))
        else:
            _show(found)
        return OK

    return carry_out("mpzmq describe", ask_everyone if every else ask)


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

    async def ask_one(handle: ComputerEngineWriter) -> str:
        if wanted is None:
            return str(await handle.get_state(timeout=timeout, wait=not every))
        return str(await handle.set_state(Status(wanted), timeout=timeout, wait=not every))

    async def ask_everyone() -> int:
        within = min(timeout, CONNECT_WITHIN)
        async with group_of(endpoint, within, client_security(*security)) as group:
            results, errors = await ask_all(group, within, ask_one)
        return tell_all("mpzmq state", results, errors, as_json=as_json, show=_show_state)

    async def ask() -> int:
        try:
            async with reached(endpoint, timeout, client_security(*security)) as container:
                found = await ask_one(container)
        except MpzmqError as error:
            raise _told(error, as_json) from None
        if as_json:
            say_json(json.dumps({"status": found}))
        else:
            say(found)
        return OK

    return carry_out("mpzmq state", ask_everyone if every else ask)


def _told(error: MpzmqError, as_json: bool) -> MpzmqError:
    if as_json:
        say_json(json.dumps({"error": as_document(error), "exit_code": code_of(error)}, default=str))
    return error


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
