"""``mpzmq describe`` and ``mpzmq state``: what a container offers, and its run state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..common.text import printable
from ..errors import MpzmqError
from ..models import Status
from .layout import fits, say_wrapped
from .outcome import as_document, carry_out, code_of
from .output import OK, say, say_json
from .remote import client_security, reached

if TYPE_CHECKING:
    from ..models import Description

__all__ = ["describe", "state"]

Keys = tuple[str | None, str | None]
"""What ``--keys`` and ``--server-key`` say."""


def describe(endpoint: str, *, timeout: float, security: Keys = (None, None), as_json: bool) -> int:
    """Prints a container's functions; returns the exit code."""

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

    return carry_out("mpzmq describe", ask)


def state(endpoint: str, wanted: str | None, *, timeout: float, security: Keys = (None, None), as_json: bool) -> int:
    """Prints a container's run state, after setting it where one is wanted; returns the exit code."""

    async def ask() -> int:
        try:
            async with reached(endpoint, timeout, client_security(*security)) as container:
                if wanted is None:
                    found = await container.get_state(timeout=timeout)
                else:
                    found = await container.set_state(Status(wanted), timeout=timeout)
        except MpzmqError as error:
            raise _told(error, as_json) from None
        if as_json:
            say_json(json.dumps({"status": str(found)}))
        else:
            say(str(found))
        return OK

    return carry_out("mpzmq state", ask)


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
