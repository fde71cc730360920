"""What an application may hand over: objects that raise when they are read, shown, or asked for their class."""

from __future__ import annotations

import argparse
import collections
import mmap
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import Mock

from mpzmq import Refused, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["RAISED", "RESULTS", "Lazy", "NoText", "NoTraceback"]


class Lazy:
    """As a lazy proxy outside the context that it belongs to: it has not even a class."""

    @property
    def __class__(self) -> NoReturn:
        raise RuntimeError("working outside of request context")

    @__class__.setter
    def __class__(self, value: object) -> NoReturn:
        raise RuntimeError("working outside of request context")


class NoText:
    """It cannot be shown."""

    def __init__(self, error: type[BaseException] = AttributeError) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error("no text")

    __str__ = __repr__


class _Unhashable(type):
    __hash__ = None  # type: ignore[assignment]


class OfOddClass(metaclass=_Unhashable):
    """Its class cannot be looked up in a table."""


class LazyDict(dict[Any, Any]):
    """Its content has gone."""

    def keys(self) -> NoReturn:
        raise KeyError("the database is closed")

    def __iter__(self) -> NoReturn:
        raise KeyError("the database is closed")


class Ends(list[Any]):
    """It ends the process when it is read."""

    def __iter__(self) -> Iterator[Any]:
        sys.exit("while it was read")


class Endless(dict[Any, Any]):
    """It has no bottom."""

    def keys(self) -> Any:
        return self.keys()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())


class Twin(str):
    """Equal to nothing, so that a dict may hold two with the same text."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = str.__hash__


class NoTraceback(Exception):
    """Nothing of it can be had."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__

    @property
    def __traceback__(self) -> NoReturn:
        raise ValueError("no traceback")

    @__traceback__.setter
    def __traceback__(self, value: object) -> NoReturn:
        raise ValueError("no traceback")

    @property
    def __class__(self) -> NoReturn:
        raise ValueError("no class")

    @__class__.setter
    def __class__(self, value: object) -> NoReturn:
        raise ValueError("no class")


class OddRefusal(Refused):
    """Nobody can tell whose word it is."""

    @property
    def request_id(self) -> NoReturn:
        raise LookupError("no id")

    @request_id.setter
    def request_id(self, value: object) -> None:
        """It is set when it is made."""


class Unusual(BaseException):
    """No Exception at all."""


class OddStop(StopIteration):
    """No future can hold it, and it cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no text")


def released() -> memoryview:
    with memoryview(b"x" * 100) as view:
        return view


def closed() -> mmap.mmap:
    opened = mmap.mmap(-1, 100)
    opened.close()
    return opened


def circular() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


RESULTS: dict[str, Callable[[], Any]] = {
    "a released memoryview": released,
    "one inside": lambda: [1, {"a": released()}],
    "a closed mmap": closed,
    "a mock of a dict": lambda: Mock(spec=dict),
    "a mock of a list": lambda: [Mock(spec=list)],
    "a lazy proxy": Lazy,
    "an object of an odd class": lambda: [OfOddClass()],
    "a key without text": lambda: {NoText(): 1},
    "a key without a class": lambda: {Lazy(): 1},
    "a lazy dict": lambda: LazyDict(a=1),
    "two keys that are one": lambda: {Twin("a"): 1, Twin("a"): 2},
    "a list that ends the process": lambda: {"a": Ends([1])},
    "a dict without bottom": lambda: Endless(a=1),
    "a list in itself": circular,
    "a tuple that hides fields": lambda: os.stat("."),
    "a set": lambda: collections.Counter([1]).keys(),
    "a lone surrogate": lambda: {"a": ["\udcff"]},
    "a large int": lambda: [1 << 64],
}
"""Results that a message cannot carry, in ways that no encoder expects: what makes each of them."""


def _raiser(make: Callable[[], BaseException]) -> Callable[[], NoReturn]:
    def raises() -> NoReturn:
        raise make()

    return raises


def _of_arguments() -> NoReturn:
    argparse.ArgumentParser(prog="odd", add_help=False).parse_args(["--nothing"])
    raise AssertionError("argparse has taken it")


RAISED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "of an exception": (_raiser(lambda: RemoteError(ValueError("bad value"))), "RemoteError", "bad value"),
    "of an int": (_raiser(lambda: RemoteError(404)), "RemoteError", "404"),
    "of None": (_raiser(lambda: RemoteError(None)), "RemoteError", "None"),
    "of no text": (_raiser(lambda: RemoteError(NoText())), "RemoteError", "NoText"),
    "of a lazy proxy": (_raiser(lambda: RemoteError(Lazy())), "RemoteError", "Lazy"),
    "of a surrogate": (_raiser(lambda: RemoteError("a \udcff")), "RemoteError", "a ?"),
    "with a code": (_raiser(lambda: RemoteError("m", code=404)), "TypeError", "404"),  # type: ignore[arg-type]
    "with a class": (_raiser(lambda: RemoteError("m", error_type=ValueError)), "TypeError", "ValueError"),  # type: ignore[arg-type]
    "with a text": (_raiser(lambda: RemoteError("m", error_message=NoText())), "RemoteError", "NoText"),
    "with data": (_raiser(lambda: RemoteError("the message", data=[released()])), "EncodeError", "the message"),
    "without text": (_raiser(NoTraceback), "NoTraceback", "NoTraceback"),
    "whose text ends the process": (_raiser(lambda: ValueError(NoText(SystemExit))), "ValueError", "SystemExit"),
    "of an odd refusal": (_raiser(lambda: OddRefusal("no")), "OddRefusal", "no id"),
    "that is no Exception": (_raiser(lambda: Unusual("unusual")), "Unusual", "unusual"),
    "exit": (lambda: sys.exit(3), "SystemExit", "sys.exit(3)"),
    "exit without text": (_raiser(lambda: SystemExit(NoText())), "SystemExit", "NoText"),
    "exit of argparse": (_of_arguments, "SystemExit", "sys.exit(2)"),
    "recursion": (lambda: RAISED["recursion"][0](), "RecursionError", "recursion"),
    "memory": (_raiser(MemoryError), "MemoryError", ""),
}
"""What a handler may raise: what raises it, and the type and a part of the text that its caller hears."""
