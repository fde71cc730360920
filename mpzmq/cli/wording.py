"""Errors of the library in the words of the shell: what helps is an option or a command, not an argument in Python."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import EncodeError, RemoteError, RequestError

if TYPE_CHECKING:
    from ..errors import MpzmqError

__all__ = ["in_shell_words"]

_WORDS = {
    "give it more time with timeout=": "give it more time with --timeout",
    "set_state(remote_id, Status.RUNNING)": "mpzmq state {name} RUNNING",
    "send it again with wait=True, to reach its successor": "try again when its successor serves",
    "pass wait=True to wait for it": "try again when it is back",
    "connect() it again, and use the new handle": "try again",
    "pass idempotent=True to what may run twice, and it is sent again": (
        "mpzmq call --idempotent sends what may run twice again"
    ),
    "give both sides keys (security=), or none": "give both sides keys (--keys), or none",
    "compare server_key with": "compare --server-key with",
    ", as .progress tells": "",
    "send less at a time, or raise Limits.message_bytes on both sides": "send less at a time",
}
"""What the library says, and what a command says in its place."""

_WAYS = re.compile(r"is to be asked by (upload|channel)\(\), and not by (?:call|stream)\(\)")
_PATHS = ((re.compile(r"^args\[(\d+)\]"), "argument"), (re.compile(r"^kwargs\['(\w+)'\]"), "--kw"))


def in_shell_words(error: MpzmqError) -> str:
    """What an error says, to whoever has typed a command."""
    if isinstance(error, EncodeError):
        return _unfit(error)
    text = str(error)
    if isinstance(error, RemoteError):  # the handler's own words
        return text
    name = error.name if isinstance(error, RequestError) and error.name else "ENDPOINT"
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours.format(name=name))
    return _WAYS.sub(r"takes a stream of items, which no command can send: a program can, by \1()", text)


def _unfit(error: EncodeError) -> str:
    """A value of the command line that a message cannot carry: which of them, and why."""
    path = error.path or "the value"
    why = str(error).removeprefix(f"cannot send {path}: ").partition("; a message carries ")[0]
    for pattern, what in _PATHS:
        if found := pattern.match(path):
            number = str(int(found[1]) + 1) if what == "argument" else found[1]
            return f"cannot send {what} {number}{path[found.end() :]}: {why}"
    return f"cannot send {path}: {why}"
