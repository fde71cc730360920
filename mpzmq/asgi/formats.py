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


_LINE_ENDS = {character: f"\\u{ord(character):04x}".encode() for character in "\x85\u2028\u2029"}
"""JSON need not escape them, but who reads lines of Unicode text takes them for an end: ``str.splitlines``, for one."""


def _on_a_line(value: Any) -> bytes:
    line = encoded(value)
    if not line.isascii():
        for character, escaped in _LINE_ENDS.items():
            line = line.replace(character.encode(), escaped)
    return line


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
        return b"".join(b"data: %b\n\n" % _on_a_line(item) for item in items)

    def error(self, document: dict[str, Any]) -> bytes:
        return b"event: error\ndata: %b\n\n" % _on_a_line(document)


class _Lines(ItemFormat):
    end = b'{"end":{}}\n'

    def items(self, items: Iterable[Any]) -> bytes:
        return b"".join(b'{"item":%b}\n' % _on_a_line(item) for item in items)

    def error(self, document: dict[str, Any]) -> bytes:
        return _on_a_line(document) + b"\n"


FORMATS: dict[str, ItemFormat] = {SSE: _Events(), NDJSON: _Lines()}
"""By the type of the answer."""
