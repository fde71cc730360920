"""Request ids that callers chose: which members may have run what was asked under them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from .candidate import Candidate

__all__ = ["ChosenIds"]

_C = TypeVar("_C", bound="Candidate")

MAX_IDS = 10_000
"""How many are remembered."""


class ChosenIds(Generic[_C]):
    """The last ids that callers chose, each with the members that took it.

    Issued again, an id goes to these alone: only they know what has become of it.
    """

    def __init__(self) -> None:
        self._taken: OrderedDict[bytes, tuple[_C, ...]] = OrderedDict()
        self._answered: OrderedDict[bytes, None] = OrderedDict()

    def is_answered(self, tag: bytes) -> bool:
        """Whether a reply was received under an id: it is spent."""
        return tag in self._answered

    def taken_by(self, tag: bytes) -> tuple[_C, ...]:
        """The members that may have run what was asked under an id."""
        return self._taken.get(tag, ())

    def on_sent(self, tag: bytes, member: _C) -> None:
        """A request goes to a member."""
        members = self._taken.pop(tag, ())
        self._taken[tag] = members if member in members else (*members, member)
        _limit(self._taken)

    def on_not_run(self, tag: bytes, member: _C) -> None:
        """It has not run there, and will not."""
        members = tuple(other for other in self._taken.pop(tag, ()) if other is not member)
        if members:
            self._taken[tag] = members

    def on_answered(self, tag: bytes) -> None:
        """A reply was received, or an error that is one."""
        self._taken.pop(tag, None)
        self._answered[tag] = None
        _limit(self._answered)


def _limit(ids: OrderedDict[bytes, Any]) -> None:
    if len(ids) > MAX_IDS:
        ids.popitem(last=False)
