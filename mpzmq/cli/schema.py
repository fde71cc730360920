"""``mpzmq schema``, ``mpzmq schema diff`` and ``mpzmq stubs``: what typed functions take and return."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.text import printable
from ..typed.compatibility import breaks
from ..typed.stubs import stubs as written_stubs
from ..typed.well_formed import check_document
from .arguments import client_security
from .outcome import CommandFailed, carry_out
from .output import FAILED, NOT_JSON, OK, say, say_json
from .remote import reached

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..models import Description

__all__ = ["described_with_schema", "diff", "show", "stubs"]

Keys = tuple[str | None, str | None]
"""What ``--keys`` and ``--server-key`` say."""


def show(endpoint: str, *, timeout: float, security: Keys = (None, None)) -> int:
    """Prints the schema of a container's functions; returns the exit code."""

    async def ask() -> int:
        schema = await _schema_of(endpoint, timeout, security)
        say_json(json.dumps(schema, indent=2, ensure_ascii=False))
        return OK

    return carry_out("mpzmq schema", ask)


def diff(old: str, new: str, *, timeout: float, security: Keys = (None, None), as_json: bool) -> int:
    """Prints what a caller of OLD cannot rely on with NEW; returns 1 where there is something."""

    async def compare() -> int:
        found = breaks(await _read(old, timeout, security), await _read(new, timeout, security))
        if as_json:
            say_json(json.dumps({"breaks": found}, ensure_ascii=False))
        else:
            for line in found:
                say(printable(line))
        return FAILED if found else OK

    return carry_out("mpzmq schema diff", compare)


def stubs(endpoint: str, name: str, *, timeout: float, security: Keys = (None, None)) -> int:
    """Prints a module with an interface for the functions of a container; returns the exit code."""

    async def ask() -> int:
        if not name.isidentifier():
            raise CommandFailed(f"{name!r} is no name of a class: --name takes one such as Shop")
        schema = await _read(endpoint, timeout, security)
        say(written_stubs(schema, name, "The functions of a container").rstrip("\n"))
        return OK

    return carry_out("mpzmq stubs", ask)


async def _read(source: str, timeout: float, security: Keys) -> Mapping[str, Any]:
    """A schema from a file, or from a container."""
    return _in_file(source) or await _schema_of(source, timeout, security)


def _in_file(source: str) -> Mapping[str, Any] | None:
    path = Path(source)
    if not (source.endswith(".json") or path.is_file()):
        return None
    try:
        schema: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        check_document(schema)
    except (ValueError, RecursionError) as error:
        text = f"{source} is no schema, as 'mpzmq schema ENDPOINT' prints it: {error}"
        raise CommandFailed(text, NOT_JSON) from None
    except OSError as error:
        raise CommandFailed(f"cannot read {source}: {error.strerror}") from None
    return schema


async def _schema_of(endpoint: str, timeout: float, security: Keys) -> Mapping[str, Any]:
    found = await described_with_schema(endpoint, timeout, security)
    if found.schema is None:
        raise CommandFailed(f"{endpoint} has no schema: its functions are not typed (ContainerServer(typed=True))")
    return found.schema


async def described_with_schema(endpoint: str, timeout: float, security: Keys) -> Description:
    """What a container says of itself, with the schema of its functions if it has one.

    Raises:
        CommandFailed: the endpoint is malformed.
        MpzmqError: it does not answer.
    """
    async with reached(endpoint, timeout, client_security(*security)) as container:
        return await container.describe(timeout=timeout, schema=True)
