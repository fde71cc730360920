"""Which functions are open to others: those that are named, and no other."""

from __future__ import annotations

from collections.abc import Iterable

from ..common.text import repr_of, type_name

__all__ = ["Allowed"]

EVERYTHING = "*"


class Allowed:
    """The names of the functions that may be called.

    Attributes:
        names: those that were listed, in that order; without ``"*"``.
        everything: whether ``"*"`` was among them.
    """

    def __init__(self, allow: Iterable[str]) -> None:
        """Takes the names.

        Args:
            allow: names of functions; ``"*"`` stands for every function that there is. None opens nothing.

        Raises:
            TypeError: they are not some strings.
        """
        if isinstance(allow, str | bytes) or not isinstance(allow, Iterable):
            raise TypeError(f"allow is a list of names of functions, such as ['add'], not {type_name(allow)}")
        names = list(dict.fromkeys(allow))
        for name in names:
            if not isinstance(name, str) or not name:
                raise TypeError(f"allow has names of functions, and {repr_of(name, 60)} is none")
        self.everything = EVERYTHING in names
        self.names = tuple(name for name in names if name != EVERYTHING)
        self._names = frozenset(self.names)

    def __contains__(self, name: object) -> bool:
        return self.everything or name in self._names
