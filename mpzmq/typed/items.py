"""The items that a handler reads, converted one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ..common.chaining import alone
from .errors import InvalidItemError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conversion import Converter

__all__ = ["TypedItems"]


class TypedItems:
    """An async iterator of items that fit an annotation.

    Args:
        items: as they arrive.
        converter: of one item.
        name: of the parameter that takes them, the root of the path in an error.

    Raises:
        InvalidItemError: from the iteration; one does not fit. The iterator can be asked for the next one.
    """

    def __init__(self, items: AsyncIterator[Any], converter: Converter, name: str) -> None:
        self._items = items
        self._converter = converter
        self._name = name
        self._count = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._items)
        index, self._count = self._count, self._count + 1
        try:
            return self._converter.convert(item, f"{self._name}[{index}]")
        except InvalidValueError as error:
            raise alone(InvalidItemError(error.path, error.expected)) from None
