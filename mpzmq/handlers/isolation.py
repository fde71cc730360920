"""Context variables of handlers: each request has its own, and none sees what another has set."""

from __future__ import annotations

import contextvars
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["context_factory"]


def context_factory() -> Callable[[], contextvars.Context]:
    """Captures the context of now.

    Returns:
        What makes a copy of it for each request.
    """
    base = contextvars.copy_context()
    decimal = sys.modules.get("decimal")
    # A copy of a context holds the same values, and this one can be changed in place: getcontext().prec = 3.
    shared: list[Any] = (
        []
        if decimal is None
        else [(variable, value) for variable, value in base.items() if isinstance(value, decimal.Context)]
    )
    if not shared:
        return base.copy

    def copy() -> contextvars.Context:
        context = base.copy()
        for variable, value in shared:
            context.run(variable.set, value.copy())
        return context

    return copy
