"""What callers are told of an error: what it says, or what the application's ``on_error`` has made of it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ..common.text import type_name
from ..errors import RemoteError
from .responses import refusal_of

if TYPE_CHECKING:
    from .invocation import Invocation

__all__ = ["told_of"]


def told_of(running: Invocation, error: BaseException) -> BaseException:
    """What the caller of a request is told of the error that it has come to; asked in the context of the request."""
    pipeline = running.handler.pipeline
    if pipeline is None or not issubclass(type(error), Exception):
        return error
    handler = pipeline.on_error(type(error))
    if handler is None:
        return error
    try:
        if _is_word(running, error):
            return error
        made = handler(running.details(), error)
        if not issubclass(type(made), RemoteError):
            raise TypeError(
                f"on_error({type_name(error)}) returned {type_name(made)}, and not a RemoteError"
            ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as failed:
        return failed
    made = copy.copy(made)  # it may be one and the same for all requests
    made.request_id = None  # this container says it, even if it was another one's word
    made.__cause__ = error
    return made


def _is_word(running: Invocation, error: Any) -> bool:
    """Whether an error says already what the caller is to be told: a refusal, or a RemoteError of the handler's own."""
    if issubclass(type(error), RemoteError) and error.request_id is None:
        return True
    return refusal_of(running, error) is not None
