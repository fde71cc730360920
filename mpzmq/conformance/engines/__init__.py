"""The checks of engines, level by level."""

from __future__ import annotations

from .calls import checks as calls
from .life import checks as life
from .parts import checks as parts
from .resending import checks as resending
from .streams import checks as streams

__all__ = ["CHECKS"]

CHECKS = [*calls, *life, *resending, *parts, *streams]
