"""How the items of a stream are written: as server-sent events, or as lines.

In both, an error and the end cannot be taken for an item, and what was cut off has neither.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from .answers import encoded
from .heads import NDJSON, SSE

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FORMATS", "ItemFormat"]


class ItemFormat(ABC):
    """One of them.

    Attributes:
        idle: what may be sent while there is no item, so that proxies see a sign of life; empty: nothing.
        end: what stands behind the last item.
    """

    idle = b""
    end = b""

    @abstractmethod
    def items(self, items: Iterable[Any]) -> bytes:
        """Some items."""

    @abstractmethod
    def error(self, document: dict[str, Any]) -> bytes:
        """What stands behind the last item in place of the end."""


class _Events(ItemFormat):
    idle = b": still here\n\n"
    end = b"event: end\ndata: {}\n\n"

    def items(self, items: Iterable[Any]) -> bytes:
        return b"".join(b"data: %b\n\n" % encoded(item) for item in items)

    def error(self, document: dict[str, Any]) -> bytes:
        return b"event: error\ndata: %b\n\n" % encoded(document)


class _Lines(ItemFormat):
    end = b'{"end":{}}\n'

    def items(self, items: Iterable[Any]) -> bytes:
        return b"".join(b'{"item":%b}\n' % encoded(item) for item in items)

    def error(self, document: dict[str, Any]) -> bytes:
        return encoded(document) + b"\n"


FORMATS: dict[str, ItemFormat] = {SSE: _Events(), NDJSON: _Lines()}
"""By the type of the answer."""
