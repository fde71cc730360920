"""Text of whatever there is: no message, error or log line fails over what it is made of.

``repr()``, ``str()`` and even ``isinstance()`` run code of the object that is asked. Where that object is the
application's, any of them can raise, at a moment when others wait for what this side does next. These functions
answer for every object, in a bounded text that can be sent. ``KeyboardInterrupt`` alone passes: it is the user's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_LENGTH",
    "MAX_NAME",
    "clean",
    "is_unicode",
    "printable",
    "repr_of",
    "text_of",
    "type_name",
    "without_comment",
]

MAX_LENGTH = 4096
"""Characters of a text that are kept: one of the size of a traceback helps nobody."""

MAX_NAME = 256
"""The same of a name."""

_CUT = " [cut]"

_COMMENT = re.compile(r"(?:^|\s)#")

_name_of = type.__dict__["__name__"].__get__


def clean(text: str, max_length: int = MAX_LENGTH) -> str:
    """A text that can be sent: a plain ``str`` of limited length, ``?`` in place of lone surrogates."""
    if not issubclass(type(text), str):  # it is only typed as one
        return text_of(text, max_length)
    size = str.__len__(text)
    plain = str.__getitem__(text, slice(max_length))
    return plain.encode(errors="replace").decode() + (_CUT if size > max_length else "")


def text_of(value: object, max_length: int = MAX_LENGTH) -> str:
    """``str(value)``, whatever it is."""
    return _rendered(str, value, max_length)


def repr_of(value: object, max_length: int = MAX_LENGTH) -> str:
    """``repr(value)``, whatever it is."""
    return _rendered(repr, value, max_length)


def printable(text: str) -> str:
    """A text from elsewhere, on one line and without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_unicode(text: str) -> bool:
    """Whether a text can be sent: lone surrogates, as the environment has for what is no UTF-8, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def type_name(value: object) -> str:
    """The name of its class, and not what it says of it."""
    return clean(_name_of(type(value)), MAX_NAME)


def _rendered(render: Callable[[object], str], value: object, max_length: int) -> str:
    try:
        return clean(render(value), max_length)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return clean(f"<{type_name(value)}, whose text cannot be had: {type_name(error)}>", max_length)


def without_comment(line: str) -> str:
    """A line of a file as far as the first word that begins with ``#``: within a word that means nothing."""
    return _COMMENT.split(line, maxsplit=1)[0]
