"""A door through which strangers come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Door"]


class Door(ABC):
    """Takes inputs, one after the other. Each exception that comes out is a finding.

    Attributes:
        tokens: pieces of an input that mean something there.
    """

    tokens: ClassVar[Sequence[bytes]]

    @abstractmethod
    def push(self, data: bytes) -> int:
        """One input; returns how much of it came through, so that a fuzzer that says nothing but nonsense is seen."""

    def close(self) -> None:  # noqa: B027  (most have nothing to close)
        """Ends it."""
