"""What an HTTP request is answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..common.json_values import as_json_types
from ..models import Executed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http import HTTPStatus

    from .types import Send

__all__ = ["ALWAYS", "Answer", "Problem", "encoded", "written"]

ALWAYS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
"""Headers of every answer."""

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encoded(value: Any) -> bytes:
    """A value of a message as JSON."""
    return written(as_json_types(value))


def written(document: Any) -> bytes:
    """What is JSON already, as bytes. Half of a surrogate pair, which is no UTF-8, is escaped, as JSON does."""
    return _encode(document).encode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        status: its code.
        body: as JSON.
        headers: those beside its type, its length and :data:`ALWAYS`.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Sends it; only its ``head`` where the request was HEAD."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body)), *ALWAYS]
        headers += [(name.encode("ascii"), value.encode("ascii")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else self.body})


class Problem(Exception):
    """What is wrong with an HTTP request.

    Args:
        status: of its answer.
        kind: one word for programs.
        message: what is wrong, and what would be right.
        headers: of its answer.

    Attributes:
        executed: whether a handler has worked for it: not, unless it was found in the middle of a body.
    """

    def __init__(self, status: HTTPStatus, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.headers = headers or {}
        self.executed = Executed.NO
