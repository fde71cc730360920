"""Values that do not fit."""

from __future__ import annotations

__all__ = ["InvalidItemError", "InvalidValueError"]


class InvalidValueError(ValueError):
    """A value does not fit an annotation.

    Attributes:
        path: where: ``job.items[3].price``.
        expected: what is expected there, and what is there instead, in words.
    """

    def __init__(self, path: str, expected: str) -> None:
        super().__init__(f"{path}: {expected}")
        self.path = path
        self.expected = expected

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.path, self.expected)


class InvalidItemError(InvalidValueError):
    """An item of an upload or a channel does not fit; raised in the handler's iterator."""
