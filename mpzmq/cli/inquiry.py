"""One question to a container, or to every one of a source, and the answers as people or programs read them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ..errors import MpzmqError
from .arguments import client_security
from .members import ask_all, group_of, tell_all
from .outcome import as_document, carry_out, code_of
from .output import OK, say_json
from .remote import CONNECT_WITHIN, reached

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..engine.writer import ComputerEngineWriter

__all__ = ["Keys", "Told", "inquire"]

Keys = tuple[str | None, str | None]
"""What ``--keys`` and ``--server-key`` say."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Told(Generic[_T]):
    """How an answer is told.

    Attributes:
        document: as JSON.
        show: to people.
        show_member: the same, of one of several, by its name.
        member_document: as JSON, of one of several; None: as of one.
    """

    document: Callable[[_T], object]
    show: Callable[[_T], None]
    show_member: Callable[[str, _T], None]
    member_document: Callable[[_T], object] | None = None


def inquire(
    command: str,
    endpoint: str,
    ask: Callable[[ComputerEngineWriter], Awaitable[_T]],
    told: Told[_T],
    timeout: float,
    security: Keys,
    *,
    every: bool,
    as_json: bool,
) -> int:
    """Asks one container, or every one of a source, and prints what it says; returns the exit code.

    Args:
        command: as the user typed it, to begin each line on stderr.
        endpoint: of the container, or a source.
        ask: asks one of them.
        told: how answers are told.
        timeout: seconds for the answer.
        security: what ``--keys`` and ``--server-key`` say.
        every: whether all members of the source are asked.
        as_json: whether it is printed as JSON.
    """

    async def ask_everyone() -> int:
        within = min(timeout, CONNECT_WITHIN)
        async with group_of(endpoint, within, client_security(*security)) as group:
            results, errors = await ask_all(group, within, ask)
        if not as_json:
            return tell_all(command, results, errors, as_json=False, show=told.show_member)
        document = told.member_document or told.document
        shown = {name: document(found) for name, found in results.items()}
        return tell_all(command, shown, errors, as_json=True, show=lambda name, found: None)

    async def ask_one() -> int:
        try:
            async with reached(endpoint, timeout, client_security(*security)) as container:
                found = await ask(container)
        except MpzmqError as error:
            if as_json:
                say_json(json.dumps({"error": as_document(error), "exit_code": code_of(error)}, default=str))
            raise
        if as_json:
            say_json(json.dumps(told.document(found), ensure_ascii=False))
        else:
            told.show(found)
        return OK

    return carry_out(command, ask_everyone if every else ask_one)
