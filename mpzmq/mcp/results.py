"""What an agent is told of a call: its result, or its error and what can be done about that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcp_types import CallToolResult, TextContent

from ..common.json_values import as_json_types
from ..errors import ConnectError, InvalidArguments, NotConnected, NotPermitted, Overloaded, RequestError, Unsupported
from ..models import Executed

if TYPE_CHECKING:
    from ..errors import EncodeError, MessageTooLarge, MpzmqError

__all__ = [
    "MAX_BYTES",
    "MAX_ITEMS",
    "MAX_PROGRESS",
    "UNKNOWN_NOW",
    "Items",
    "failed",
    "functions_unknown",
    "item_not_sent",
    "mpzmq_failed",
    "shortened",
    "succeeded",
]

MAX_BYTES = 1024 * 1024
"""Characters of a result as JSON: it has to fit into what an agent reads."""

MAX_ITEMS = 1000
"""Items of a stream."""

MAX_PROGRESS = 500
"""Characters of an item that is told as progress."""

UNKNOWN_NOW = "the functions are not known now"

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

_AGAIN = {
    Executed.NO: "Nothing has run: it can be called again.",
    Executed.UNKNOWN: "It may have run: find out whether it has before it is called again.",
    Executed.YES: "It has begun to run: find out how far it came before it is called again.",
}


def shortened(value: Any) -> str:
    """A value as JSON, or the beginning of that."""
    text = _encode(as_json_types(value))
    return text if len(text) <= MAX_PROGRESS else f"{text[: MAX_PROGRESS - 3]}..."


def succeeded(value: Any, *, is_typed: bool) -> CallToolResult:
    """The result of a call.

    Args:
        value: what the function has returned.
        is_typed: whether the tool has an output schema, which wants it as structured content.
    """
    plain = as_json_types(value)
    text = _encode(plain)
    if len(text) > MAX_BYTES:
        return failed(
            f"ResultTooLarge (executed: YES): the result has {len(text):,} characters as JSON, and {MAX_BYTES:,} are"
            " the most that is handed on: ask for less of it"
        )
    structured = {"result": plain} if is_typed else None
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=structured)


class Items:
    """The items of a stream, as many as an agent is given.

    Attributes:
        cut: why no more are taken; empty: more are.
        count: how many have come.
    """

    def __init__(self) -> None:
        self.cut = ""
        self.count = 0
        self._items: list[Any] = []
        self._size = 0

    def add(self, value: Any) -> None:
        """One more has come."""
        plain = as_json_types(value)
        size = len(_encode(plain)) + 2
        if self._size + size > MAX_BYTES:
            self.cut = f"the next item would make it more than {MAX_BYTES:,} characters: ask for less"
            return
        self._items.append(plain)
        self._size += size
        self.count += 1
        if self.count == MAX_ITEMS:
            self.cut = f"{MAX_ITEMS:,} items are the most that is handed on: ask for less"

    def result(self, *, is_typed: bool) -> CallToolResult:
        """All of them, with the reason where there might have been more."""
        content = [TextContent(type="text", text=_encode(self._items))]
        structured: dict[str, Any] = {"items": self._items}
        if self.cut:
            content.append(TextContent(type="text", text=f"It was ended there: {self.cut}"))
            structured["cut"] = self.cut
        return CallToolResult(content=[*content], structured_content=structured if is_typed else None)


def failed(text: str) -> CallToolResult:
    """The error of a call, for the agent to read."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def mpzmq_failed(error: MpzmqError, came: Items | None = None) -> CallToolResult:
    """The same of an error of this library.

    Args:
        error: it.
        came: the items that had come before.
    """
    executed = error.executed if isinstance(error, RequestError) else Executed.NO
    text = f"{type(error).__name__} (executed: {executed}): {error}\n{_advice(error, executed)}"
    return failed(text + _come(came))


def functions_unknown(error: MpzmqError) -> CallToolResult:
    """The same where nobody has told what functions there are, so that none was called.

    Args:
        error: why not. Its ``executed`` is of that question.
    """
    told = f"{type(error).__name__} (executed: {Executed.NO}): {UNKNOWN_NOW}: {error}"
    return failed(f"{told}\nNothing has run: call it again later.")


def item_not_sent(error: EncodeError | MessageTooLarge, index: int, came: Items) -> CallToolResult:
    """The same of an item that no message can carry, found when its function has those before it.

    Args:
        error: why not.
        index: of the item.
        came: the items that the function had given.
    """
    text = (
        f"InvalidArguments (executed: UNKNOWN): item {index}: {error}\nThe function was ended, and may have begun with"
        " the items before that one: find out what it did with them before it is called again."
    )
    return failed(text + _come(came))


def _come(came: Items | None) -> str:
    if came is None or not came.count:
        return ""
    return f"\n{came.count} items had come before: {came.result(is_typed=False).content[0].text}"  # type: ignore[union-attr]


def _advice(error: MpzmqError, executed: Executed) -> str:
    if isinstance(error, NotPermitted):
        return "Nothing has run, and calling it again does not help: who runs this server has not permitted it."
    if isinstance(error, Unsupported):
        return "Nothing has run, and calling it again does not help: list the tools again, they may have changed."
    if isinstance(error, InvalidArguments):
        return "Nothing has run: correct the arguments, and call it again."
    if isinstance(error, Overloaded):
        seconds = getattr(error, "retry_after", None) or 1
        return f"Nothing has run: call it again in {seconds:g} s or more."
    if isinstance(error, NotConnected | ConnectError):
        return "Nothing has run: no container is there now; call it again later."
    return _AGAIN[executed]
