"""Bodies of requests: one JSON document, or one on each line as they come. Both have bounds, in bytes and in time."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from ..common.json_values import from_json
from ..models import Executed
from .answers import Problem
from .client import ClientGone

if TYPE_CHECKING:
    from .types import Message, Receive

__all__ = ["Lines", "arguments_of", "whole_body"]

AHEAD = 65_536
"""Bytes of lines that may have come before they are taken."""


def _too_large(what: str, limit: int) -> Problem:
    text = f"{what} has more than {limit:,} bytes, which is the most that is taken here"
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BodyTooLarge", text)


def _too_slow(seconds: float) -> Problem:
    text = f"nothing came of the rest of the body for {seconds:g} s"
    return Problem(HTTPStatus.REQUEST_TIMEOUT, "BodyTooSlow", text)


def _value_of(data: bytes | bytearray, what: str) -> Any:
    try:
        return from_json(data.decode())
    except ValueError as error:  # of which UnicodeDecodeError is one
        raise Problem(HTTPStatus.BAD_REQUEST, "NotJson", f"{what} is no JSON: {error}") from None


def arguments_of(data: bytes | bytearray, what: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a function, by position and by name.

    Raises:
        Problem: it is no JSON, or neither an array nor an object.
    """
    value = _value_of(data, what)
    if isinstance(value, list):
        return value, {}
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return [], value
    text = f"{what} has the arguments of the function: a JSON array, by position, or an object, by name"
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "WrongArguments", text)


async def whole_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """Reads a body to its end.

    Args:
        receive: of the application.
        limit: bytes that it may have.
        seconds: for all of it.

    Raises:
        Problem: it is too large, or too slow.
        ClientGone: the client has gone.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise _too_large("the body", limit)
                parts.append(part)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise _too_slow(seconds) from None


class Lines:
    """The lines of a body, as values: an async iterator with one reader. Empty lines are passed over.

    Args:
        limit: bytes that a line may have.
        seconds: that the client may be silent in the middle of the body.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._data = bytearray()
        self._looked = 0  # bytes of it that are known to have no end of a line
        self._number = 0
        self._has_ended = False
        self._come = asyncio.Event()
        self._taken = asyncio.Event()

    async def feed(self, message: Message) -> None:
        """Takes a piece of the body; returns when there is room for the next one."""
        self._data += message.get("body", b"")
        self._has_ended = not message.get("more_body", False)
        self._come.set()
        while len(self._data) > AHEAD and not self._needs_more():
            self._taken.clear()
            await self._taken.wait()

    def _needs_more(self) -> bool:
        return len(self._data) <= self._limit and self._data.find(b"\n", self._looked) < 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            line = await self._line()
            if line is None:
                raise StopAsyncIteration
            return _value_of(line, f"line {self._number} of the body")
        except Problem as problem:
            problem.executed = Executed.UNKNOWN  # the items before it were sent
            raise

    async def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of the function, which stand in the first line.

        Raises:
            Problem: they do not.
        """
        line = await self._line()
        return arguments_of(line or b"", "the first line of the body")

    async def _line(self) -> bytearray | None:
        while True:
            end = self._data.find(b"\n", self._looked)
            if end < 0 and not self._has_ended:
                if len(self._data) > self._limit:
                    raise _too_large(f"line {self._number + 1} of the body", self._limit)
                self._looked = len(self._data)
                self._taken.set()
                await self._more()
                continue
            if end < 0:
                end = len(self._data)
                if not end:
                    return None
            line = self._data[:end]
            del self._data[: end + 1]
            self._looked = 0
            self._number += 1
            self._taken.set()
            if len(line) > self._limit:
                raise _too_large(f"line {self._number} of the body", self._limit)
            if line.strip():
                return line

    async def _more(self) -> None:
        self._come.clear()
        try:
            async with asyncio.timeout(self._seconds):
                await self._come.wait()
        except TimeoutError:
            raise _too_slow(self._seconds) from None
