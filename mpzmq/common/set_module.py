"""Where a public name belongs: where it is imported from, and not where it is defined."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["set_module"]

_T = TypeVar("_T")


def set_module(package: str) -> Callable[[_T], _T]:
    """A decorator for what is public: tracebacks, pickles and the documentation name it as users do.

    Args:
        package: from which it is imported, such as ``"mpzmq"``; it has to have the name.
    """

    def set_here(thing: _T) -> _T:
        thing.__module__ = package
        return thing

    return set_here
