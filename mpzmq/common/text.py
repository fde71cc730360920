"""Text of whatever there is: no message, error or log line fails over what it is made of.

``repr()``, ``str()`` and even ``isinstance()`` run code of the object that is asked. Where that object is the
application's, any of them can raise, at a moment when others wait for what this side does next. These functions
answer for every object, in a bounded text that can be sent. ``KeyboardInterrupt`` alone passes: it is the user's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST", "MAX_NAME", "clean", "printable", "repr_of", "text_of", "type_name"]

LONGEST = 4096
"""Characters of a text that are kept: one of the size of a traceback helps nobody."""

MAX_NAME = 256
"""The same of a name."""

_CUT = " [cut]"

_name_of = type.__dict__["__name__"].__get__


def clean(text: str, most: int = LONGEST) -> str:
    """A text that can be sent: a plain ``str`` of at most so many characters, ``?`` in place of lone surrogates."""
    if not issubclass(type(text), str):  # it is only typed as one
        return text_of(text, most)
    size = str.__len__(text)
    plain = str.__getitem__(text, slice(most))
    return plain.encode(errors="replace").decode() + (_CUT if size > most else "")


def text_of(value: object, most: int = LONGEST) -> str:
    """``str(value)``, whatever it is."""
    return _rendered(str, value, most)


def repr_of(value: object, most: int = LONGEST) -> str:
    """``repr(value)``, whatever it is."""
    return _rendered(repr, value, most)


def printable(text: str) -> str:
    """A text from elsewhere, on one line and without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def type_name(value: object) -> str:
    """The name of its class, and not what it says of it."""
    return clean(_name_of(type(value)), MAX_NAME)


def _rendered(render: Callable[[object], str], value: object, most: int) -> str:
    try:
        return clean(render(value), most)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return clean(f"<{type_name(value)}, whose text cannot be had: {type_name(error)}>", most)
