"""The containers of a source, for as long as a command needs them: one of them, or all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

from ..common.text import printable
from ..engine.worker import ComputerEngineWorker
from ..errors import MpzmqError, NotConnected
from ..models import LinkState
from .outcome import CommandFailed, as_document, code_of
from .output import MISSING_EXTRA, OK, USAGE, print_error, say_json
from .wording import in_shell_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ..engine.group import Group
    from ..engine.writer import ComputerEngineWriter
    from ..security.credentials import Security

__all__ = ["ask_all", "first_running", "group_of", "handles_of", "is_source", "opened", "settle", "tell_all"]

_SCHEME = re.compile(r"(?!(?:tcp|ipc|rust\+tcp)://)[A-Za-z][A-Za-z0-9+.-]*://")

_T = TypeVar("_T")


def is_source(text: str) -> bool:
    """Whether it names several containers: ``dns://...`` and the like, or addresses separated by commas."""
    return "," in text or _SCHEME.match(text) is not None


async def opened(worker: ComputerEngineWorker, source: str, timeout: float, *, wait: bool = True) -> Group:
    """The group of a source, one of whose members is there; without ``wait`` any of them may still be dialled.

    Raises:
        CommandFailed: it is no source, or an extra is missing.
        ConnectError: no member could be reached in time.
    """
    try:
        return await worker.group(source, timeout=timeout, wait=wait)
    except ImportError as error:
        raise CommandFailed(str(error), MISSING_EXTRA) from None
    except (TypeError, ValueError) as error:
        raise CommandFailed(str(error), USAGE) from None


@contextlib.asynccontextmanager
async def group_of(source: str, timeout: float, security: Security | None) -> AsyncIterator[Group]:
    """The same, with a worker of its own."""
    async with ComputerEngineWorker(security=security) as worker:
        yield await opened(worker, source, timeout)


def handles_of(group: Group) -> list[ComputerEngineWriter]:
    """The handles of all members."""
    return [group.handle(member.name) for member in group.members]


def first_running(group: Group) -> ComputerEngineWriter:
    """The handle of a member that can be talked to; of the first one where none can.

    Raises:
        NotConnected: there are no members any more.
    """
    handles = handles_of(group)
    if not handles:
        raise NotConnected(f"{group.name} has no members", name=group.name)
    return next((handle for handle in handles if handle.is_running()), handles[0])


async def settle(group: Group, timeout: float) -> None:
    """Waits until each member is there, or has been found not to be."""
    events = group.events()
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(timeout):
            while any(_is_open(handle) for handle in handles_of(group)):
                await anext(events)


def _is_open(handle: ComputerEngineWriter) -> bool:
    return handle.state is LinkState.CONNECTING and handle.last_error is None


async def ask_all(
    group: Group, timeout: float, ask: Callable[[ComputerEngineWriter], Awaitable[_T]]
) -> tuple[dict[str, _T], dict[str, MpzmqError]]:
    """Asks each member the same.

    Args:
        group: whose members.
        timeout: seconds until all members have to be there.
        ask: asks one of them.

    Returns:
        What they have answered, and the errors, by their names.
    """
    await settle(group, timeout)
    handles = handles_of(group)
    found = await asyncio.gather(*map(ask, handles), return_exceptions=True)
    results: dict[str, _T] = {}
    errors: dict[str, MpzmqError] = {}
    for name, outcome in zip([handle.name for handle in handles], found, strict=True):
        if isinstance(outcome, MpzmqError):
            errors[name] = outcome
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            results[name] = outcome
    return results, errors


def tell_all(
    command: str,
    results: dict[str, Any],
    errors: dict[str, MpzmqError],
    *,
    as_json: bool,
    show: Callable[[str, Any], None],
    encode: Callable[[Any], str] = json.dumps,
) -> int:
    """Prints what all members have answered; returns the exit code, that of the first error.

    Args:
        command: as the user typed it, to begin each line on stderr.
        results: by the member's name.
        errors: the same.
        as_json: whether it is one JSON document.
        show: prints one result otherwise.
        encode: makes JSON.
    """
    code = next((code_of(error) for error in errors.values()), OK)
    if as_json:
        told = {name: as_document(error) for name, error in errors.items()}
        say_json(encode({"results": results, "errors": told, "exit_code": code}))
    else:
        for name, result in results.items():
            show(name, result)
    for name, error in errors.items():
        print_error(f"{command}: {printable(name)}: {type(error).__name__}: {printable(in_shell_words(error))}")
    return code
