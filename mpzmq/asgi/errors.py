"""Errors as answers: which status each class has, and the one document that tells of it."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from ..common.logs import Log
from ..errors import (
    AuthenticationFailed,
    ConnectError,
    ConnectionLost,
    ContainerDraining,
    ContainerStopped,
    EncodeError,
    HandshakeFailed,
    InvalidArguments,
    MessageTooLarge,
    MpzmqError,
    NotConnected,
    NotPermitted,
    Overloaded,
    ProtocolError,
    Refused,
    RemoteError,
    RequestCancelled,
    RequestError,
    RequestIdReused,
    RequestTimeout,
    ResultMismatch,
    Unsupported,
)
from ..models import Executed
from .answers import Answer, Problem, encoded

__all__ = ["STATUSES", "document_of", "error_answer", "internal_problem", "status_of"]

log = Log(__name__)

STATUSES: dict[type[MpzmqError], HTTPStatus] = {
    NotPermitted: HTTPStatus.FORBIDDEN,
    Unsupported: HTTPStatus.NOT_FOUND,
    Refused: HTTPStatus.CONFLICT,
    MessageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    InvalidArguments: HTTPStatus.UNPROCESSABLE_ENTITY,
    EncodeError: HTTPStatus.UNPROCESSABLE_ENTITY,
    RequestIdReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    RemoteError: HTTPStatus.BAD_GATEWAY,
    RequestCancelled: HTTPStatus.BAD_GATEWAY,
    ResultMismatch: HTTPStatus.BAD_GATEWAY,
    ProtocolError: HTTPStatus.BAD_GATEWAY,
    ConnectionLost: HTTPStatus.BAD_GATEWAY,
    HandshakeFailed: HTTPStatus.BAD_GATEWAY,
    AuthenticationFailed: HTTPStatus.BAD_GATEWAY,
    ConnectError: HTTPStatus.SERVICE_UNAVAILABLE,
    NotConnected: HTTPStatus.SERVICE_UNAVAILABLE,
    ContainerStopped: HTTPStatus.SERVICE_UNAVAILABLE,
    ContainerDraining: HTTPStatus.SERVICE_UNAVAILABLE,
    RequestTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    MpzmqError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""A class that is not here has the status of the first of its bases that is."""

_FACTS = ("code", "data", "error_type", "retry_after", "path", "size", "limit")


def status_of(error: MpzmqError) -> HTTPStatus:
    """The status of an error."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def document_of(error: MpzmqError | Problem) -> dict[str, Any]:
    """What is told of an error, to programs and to people: ``{"error": {...}, "executed": ...}``."""
    if isinstance(error, Problem):
        told: dict[str, Any] = {"type": error.kind, "message": str(error), "executed": str(error.executed)}
        return {"error": told, "executed": told["executed"]}
    # What is no RequestError was raised before anything was sent.
    executed = error.executed if isinstance(error, RequestError) else Executed.NO
    # What a handler has said is for its caller; where it runs is not.
    message = error.error_message if isinstance(error, RemoteError) else str(error)
    told = {"type": type(error).__name__, "message": message, "executed": str(executed)}
    if isinstance(error, RequestError) and error.request_id is not None:
        told["request_id"] = str(error.request_id)
    told |= {fact: value for fact in _FACTS if (value := getattr(error, fact, None)) is not None}
    return {"error": told, "executed": told["executed"]}


def error_answer(error: MpzmqError | Problem) -> Answer:
    """The answer that tells of an error."""
    if isinstance(error, Problem):
        return Answer(error.status, encoded(document_of(error)), error.headers)
    headers = {"retry-after": _whole_seconds(error.retry_after)} if isinstance(error, Overloaded) else {}
    return Answer(status_of(error), encoded(document_of(error)), headers)


def _whole_seconds(seconds: float) -> str:
    """As the header has them; what is no number of seconds, as middleware may have said, is one."""
    return str(max(1, math.ceil(seconds))) if isinstance(seconds, int | float) and 0 < seconds < math.inf else "1"


def internal_problem(error: Exception) -> Problem:
    """What is told of an error of the application around this, which is for its log and not for its clients."""
    log.error("a request could not be answered", exc_info=error)
    text = "it could not be answered; the log of the gateway says why"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", text)
