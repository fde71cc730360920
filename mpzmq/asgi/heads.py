"""What the head of a request for a function says: how it is asked, and how it wants to be answered."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import UUID

from ..common.durations import MAX_SECONDS
from .answers import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["JSON", "NDJSON", "SSE", "Head", "Way", "read_head"]

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"

ANSWERS = (JSON, SSE, NDJSON)

_ONCE = (b"content-type", b"content-length", b"idempotency-key", b"mpzmq-timeout")
_NOT_MEANT = ("", "application/x-www-form-urlencoded")
"""Types of a body that nobody has chosen: programs send none, and ``curl -d`` this one. So can a page of any site, by a
form, which a browser does not ask the gateway about; but that says where it comes from."""

_OF_PAGES = (b"origin", b"sec-fetch-site")
_KEY_FORM = "a UUID, such as 6ba7b810-9dad-41d1-80b4-00c04fd430c8, made anew for each request"


class Way(enum.Enum):
    """How a function is asked."""

    CALL = "call"
    STREAM = "stream"
    UPLOAD = "upload"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request for a function.

    Attributes:
        has_lines: whether the body is NDJSON, and not one document.
        accepted: the types of an answer that the client takes, the one that it likes best first.
        timeout: seconds that the client gives it; None: it has said nothing.
        key: the id of the request, where the client has chosen it.
        length: bytes of the body, where that is said.
    """

    has_lines: bool
    accepted: tuple[str, ...]
    timeout: float | None
    key: UUID | None
    length: int | None

    def ways(self) -> list[tuple[Way, str]]:
        """How to ask, one after the other until the function is one that is asked so, and the type of the answer."""
        one, many = (Way.UPLOAD, Way.CHANNEL) if self.has_lines else (Way.CALL, Way.STREAM)
        found: dict[Way, str] = {}
        for kind in self.accepted:
            found.setdefault(one if kind == JSON else many, kind)
        # An upload sends no item to a function that is none, and a channel does.
        return sorted(found.items(), key=lambda way: way[0] is Way.CHANNEL)


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Reads it.

    Raises:
        Problem: it says what cannot be.
    """
    once: dict[bytes, str] = {}
    accept: list[str] = []
    is_of_a_page = False
    for name, value in headers:
        if name == b"accept":
            accept.append(value.decode("latin-1"))
        elif name in _ONCE:
            if name in once:
                raise _bad(f"the header {name.decode()} is there more than once")
            once[name] = value.decode("latin-1").strip()
        elif name in _OF_PAGES:
            is_of_a_page = True
    kind = once.get(b"content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, NDJSON) and (kind not in _NOT_MEANT or is_of_a_page):
        text = f"send 'Content-Type: {JSON}' with the arguments, or {NDJSON} with the arguments and then items"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", text)
    timeout, key, length = once.get(b"mpzmq-timeout"), once.get(b"idempotency-key"), once.get(b"content-length", "")
    head = Head(
        has_lines=kind == NDJSON,
        accepted=_accepted(",".join(accept)) if any(map(str.strip, accept)) else ANSWERS,
        timeout=None if timeout is None else _seconds(timeout),
        key=None if key is None else _key(key),
        length=int(length.lstrip("0")[:18] or 0) if length.isdecimal() else None,
    )
    if key is not None and (head.has_lines or JSON not in head.accepted):
        raise _bad("Idempotency-Key is for calls: what goes piece by piece is never sent again as a whole")
    return head


def _bad(text: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "BadRequest", text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise _bad(f"Mpzmq-Timeout is a number of seconds above 0, such as 2.5, and not {text[:40]!r}")
    return min(seconds, MAX_SECONDS)


def _key(text: str) -> UUID:
    # A string of structured fields (RFC 9651) stands in quotes, and many leave them out.
    bare = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    try:
        key = UUID(bare)
    except ValueError:
        raise _bad(f"Idempotency-Key is {_KEY_FORM}; {text[:60]!r} is none") from None
    if not key.int:
        raise _bad(f"Idempotency-Key is {_KEY_FORM}, and not the nil UUID")
    return key


def _accepted(text: str) -> tuple[str, ...]:
    """The types that an Accept header takes, best first.

    Of equal ones, those that it names come in its order, and then those that its wildcards take.

    Raises:
        Problem: none of them.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        weights[kind] = weight
    for kind in ANSWERS:
        for wildcard in (f"{kind.partition('/')[0]}/*", "*/*"):
            if wildcard in weights:
                weights.setdefault(kind, weights[wildcard])
    named = [kind for kind, weight in weights.items() if kind in ANSWERS and weight > 0]
    if not named:
        text = f"the answer is {JSON}, or for a stream {SSE} or {NDJSON}: accept one of them"
        raise Problem(HTTPStatus.NOT_ACCEPTABLE, "NotAcceptable", text)
    return tuple(sorted(named, key=lambda kind: -weights[kind]))
