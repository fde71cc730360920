"""What callers are told of an error: what it says, or what the application's ``on_error`` has made of it."""

from __future__ import annotations

import asyncio
import copy
import inspect
from typing import TYPE_CHECKING, Any

from ..common.text import type_name
from ..errors import RemoteError
from .responses import refusal_of

if TYPE_CHECKING:
    from .invocation import Invocation
    from .pipeline import OnError

__all__ = ["mapped_error", "mapped_error_async"]


def mapped_error(running: Invocation, error: BaseException) -> BaseException:
    """What the caller of a request is told of the error that it has come to; asked in the context of the request.

    It is for handlers that run in no task: no ``on_error`` is ``async def`` then.
    """
    try:
        handler = _asked(running, error)
        return error if handler is None else _words(handler(running.details(), error), error)
    except KeyboardInterrupt:
        raise
    except BaseException as failed:
        return failed


async def mapped_error_async(running: Invocation, error: BaseException) -> BaseException:
    """The same in the task of a request.

    Raises:
        CancelledError: the request was cancelled meanwhile.
    """
    try:
        handler = _asked(running, error)
        if handler is None:
            return error
        made = handler(running.details(), error)
        return _words(await made if inspect.isawaitable(made) else made, error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise
    except BaseException as failed:
        return failed


def _asked(running: Invocation, error: BaseException) -> OnError | None:
    """Who has other words for an error; None: nobody, or they are not asked for."""
    pipeline = running.handler.pipeline
    if pipeline is None or not issubclass(type(error), Exception):
        return None
    handler = pipeline.on_error(type(error))
    return None if handler is None or _is_word(running, error) else handler


def _words(made: Any, error: BaseException) -> BaseException:
    """What an ``on_error`` has returned, as it is told.

    Raises:
        TypeError: it is no RemoteError.
    """
    if not issubclass(type(made), RemoteError):
        if inspect.iscoroutine(made):
            made.close()
        raise TypeError(f"on_error({type_name(error)}) returned {type_name(made)}, and not a RemoteError") from error
    made = copy.copy(made)  # it may be one and the same for all requests
    made.request_id = None  # this container says it, even if it was another one's word
    made.__cause__ = error
    return made  # type: ignore[no-any-return]  # its type was looked at


def _is_word(running: Invocation, error: Any) -> bool:
    """Whether an error says already what the caller is to be told: a refusal, or a RemoteError of the handler's own."""
    if issubclass(type(error), RemoteError) and error.request_id is None:
        return True
    return refusal_of(running, error) is not None
