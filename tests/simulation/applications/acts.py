"""What odd code does: middleware of either side, and whatever raises."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from mpzmq import InvalidArguments, NotPermitted, Overloaded, Refused, current_request

from ..odd import odd_answer
from .plan import BLOCK, GIVES, HANG, STUBBORN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mpzmq import CallDetails, Proceed

    from .books import Books
    from .plan import Ask

__all__ = ["REFUSALS", "SHARED", "around", "exits", "is_swallowed", "raise_plain", "refuse", "retrieve"]

REFUSALS = (Refused, Overloaded, InvalidArguments, NotPermitted)
"""What says, when it is raised before anything has run, that nothing has."""

SHARED = LookupError("one and the same for all requests")


def raise_plain(ask: Ask) -> NoReturn:
    """Raises an error, in a container also one in a group, or one that is its own cause."""
    raise _plain_error(ask)


def is_swallowed(ask: Ask) -> bool:
    """Whether an error may be let go of by other code of the application, whose garbage it is then."""
    return not {"swallows", "left_behind"}.isdisjoint((*ask.layers, ask.outer, ask.inner))


def _plain_error(ask: Ask) -> Exception:
    error: Exception = LookupError(f"#{ask.number} fails")
    if ask.number % 3 == 1:
        return ExceptionGroup(f"#{ask.number} fails", [error])
    if ask.number % 3 == 0 and current_request() is not None and not is_swallowed(ask):
        error.__cause__ = error
    return error


def refuse(ask: Ask) -> NoReturn:
    """Raises a refusal."""
    raise REFUSALS[ask.number % len(REFUSALS)](f"#{ask.number} is refused")


def retrieve(task: asyncio.Future[Any]) -> None:
    """Looks at the error of a task that is left to itself."""
    if not task.cancelled():
        task.exception()


async def around(kind: str, ask: Ask, call: CallDetails, proceed: Proceed, me: Callable[..., Any], books: Books) -> Any:
    """What a middleware does with a call."""
    match kind:
        case "raises":
            raise_plain(ask)
        case "refuses":
            refuse(ask)
        case "odd":
            return odd_answer(ask.number)
        case "cancels":
            raise asyncio.CancelledError
        case "itself":
            return me
        case "returns_call":
            return call
        case "unawaited":
            return proceed(call)
        case "hangs":
            await asyncio.sleep(HANG)
        case "blocks":
            books.block(BLOCK)
        case "foreign":
            return await proceed(_FOREIGN)
        case "late":
            books.kept.append(proceed)
            if len(books.kept) > 1:
                return await books.kept[0](call)
        case "stubborn":
            return await _stubborn(ask, call, proceed)
        case "in_a_task":
            return await asyncio.ensure_future(_task(proceed, call))
        case "left_behind":
            task = asyncio.ensure_future(_task(proceed, call))
            task.add_done_callback(retrieve)
            await asyncio.sleep(0 if ask.number % 2 else 0.01)
            return [ask.number, "left"]
        case _:
            return await _proceeds(kind, ask, call, proceed)
    return await proceed(call)


async def _proceeds(kind: str, ask: Ask, call: CallDetails, proceed: Proceed) -> Any:
    """Goes on, and does something with what it goes on with, or with what comes."""
    if kind == "replaces":
        call = call.replace(args=list(call.args), kwargs=dict(call.kwargs), metadata={**call.metadata, "more": 1})
    elif kind == "hastens":
        call = call.replace(deadline=asyncio.get_running_loop().time() + 1.0)
    elif kind == "shares":
        _change(call)
    elif kind == "swallows":
        try:
            return await proceed(call)
        except Exception:
            return [ask.number, "swallowed"]
    result = await proceed(call)
    if kind == "raises_after":
        raise_plain(ask)
    if kind == "refuses_after":
        refuse(ask)
    if kind == "hangs_after":
        await asyncio.sleep(HANG)
    if kind == "twice":
        await proceed(call)
    if ask.function in GIVES and kind in ("wraps", "breaks_items"):
        return _items(result, None if kind == "wraps" else ask)
    return result


def _change(call: CallDetails) -> None:
    """Tries to change what is not to be changed, and what may be: the values in it."""
    for attribute in ("args", "kwargs", "metadata"):
        try:
            setattr(call, attribute, {})
        except AttributeError:
            continue
        raise AssertionError(f"CallDetails.{attribute} was changed")
    for value in call.args:
        if isinstance(value, list):
            value.append("more")


async def _stubborn(ask: Ask, call: CallDetails, proceed: Proceed) -> Any:
    try:
        await asyncio.sleep(HANG)
    except asyncio.CancelledError:
        await asyncio.sleep(STUBBORN)
        return [ask.number, "stubborn"]
    return await proceed(call)


async def _task(proceed: Proceed, call: CallDetails) -> Any:
    try:
        return await proceed(call)
    except SystemExit as error:  # which would end the event loop, in a task that is the application's own
        raise RuntimeError("exit") from error


async def _items(items: AsyncIterator[Any], breaks: Ask | None) -> AsyncIterator[Any]:
    async for item in items:
        if breaks is not None and item[1] > 1:
            raise_plain(breaks)
        yield item


class _Foreign:
    """No call of anybody."""

    def __repr__(self) -> str:
        raise LookupError("no text")


_FOREIGN: Any = _Foreign()


def exits() -> NoReturn:
    """Ends the program, as it thinks."""
    sys.exit(3)
