"""The queue between a state machine and its driver."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from .effects import Batch, Effect

__all__ = ["EffectQueue"]


@final
class EffectQueue:
    """Effects in the order in which they came about; what is of one kind of batch is taken out together.

    A burst of replies, or the loss of a thousand engines, is one effect, whatever else has happened in between.
    """

    __slots__ = ("_effects", "_open")

    def __init__(self) -> None:
        self._effects: deque[Effect] = deque()
        self._open: dict[type[Batch], list[Any]] = {}  # the items of those that are in the queue

    def __len__(self) -> int:
        return len(self._effects)

    def append(self, effect: Effect) -> None:
        """Add an effect."""
        self._effects.append(effect)

    def appendleft(self, effect: Effect) -> None:
        """Add an effect that comes before all others."""
        self._effects.appendleft(effect)

    def add(self, kind: type[Batch], item: Any) -> None:
        """Add something to the batch of its kind, which stands where its first one came about."""
        items = self._open.get(kind)
        if items is None:
            batch = kind()
            items = self._open[kind] = batch.items
            self._effects.append(batch)
        items.append(item)

    def popleft(self) -> Effect:
        """Take the first effect out; what comes about from now on is another."""
        effect = self._effects.popleft()
        self._open.pop(type(effect), None)  # type: ignore[arg-type]  # others are not in it
        return effect
