"""Odd answers: what handlers return and raise that cannot be sent, shown, or even looked at."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from mpzmq import Refused, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ODD", "NoText", "Unasked", "odd_answer"]


class NoText:
    """It cannot be shown."""

    def __repr__(self) -> str:
        raise LookupError("no text")


class _Lazy:
    """A proxy that has lost what it stands for."""

    @property
    def __class__(self) -> NoReturn:
        raise LookupError("no class")

    @__class__.setter
    def __class__(self, value: object) -> NoReturn:
        raise LookupError("no class")


class _LazyDict(dict[Any, Any]):
    """Its content has gone."""

    def keys(self) -> NoReturn:
        raise LookupError("no keys")

    def __iter__(self) -> NoReturn:
        raise LookupError("no keys")


class _OddError(Exception):
    """Nothing of it can be had."""

    def __str__(self) -> str:
        raise LookupError("no text")

    @property
    def __class__(self) -> NoReturn:
        raise LookupError("no class")

    @__class__.setter
    def __class__(self, value: object) -> NoReturn:
        raise LookupError("no class")


class _OddRefusal(Refused):
    """Nobody can tell whose word it is."""

    @property
    def request_id(self) -> NoReturn:
        raise LookupError("no id")

    @request_id.setter
    def request_id(self, value: object) -> None:
        """It is set when it is made."""


class Unasked(inspect.Signature):
    """A signature that does not tell what fits."""

    def bind(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise LookupError("no signature")


def _released() -> memoryview:
    with memoryview(b"released") as view:
        return view


def _raiser(make: Callable[[], BaseException]) -> Callable[[], NoReturn]:
    def raises() -> NoReturn:
        raise make()

    return raises


ODD: tuple[tuple[Callable[[], Any], str], ...] = (
    (_released, "EncodeError"),
    (lambda: [1, {"a": _Lazy()}], "EncodeError"),
    (lambda: _LazyDict(a=1), "EncodeError"),
    (lambda: {NoText(): 1}, "EncodeError"),
    (lambda: ["\udcff"], "EncodeError"),
    (lambda: sys.exit(3), "SystemExit"),
    (_raiser(lambda: RemoteError(ValueError("text"))), "RemoteError"),
    (_raiser(lambda: RemoteError("message", data=_released())), "EncodeError"),
    (_raiser(lambda: RemoteError("message", code=404)), "TypeError"),  # type: ignore[arg-type]
    (_raiser(_OddError), "_OddError"),
    (_raiser(_OddRefusal), "_OddRefusal"),
    (_raiser(lambda: ValueError(NoText())), "ValueError"),
)
"""What makes each of them, and the type of the error that is heard."""


def odd_answer(number: int) -> Any:
    """Makes one of them."""
    return ODD[number % len(ODD)][0]()
