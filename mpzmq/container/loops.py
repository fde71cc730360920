"""Which event loop ``run()`` uses."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["loop_factory"]


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The maker of event loops for a name.

    Args:
        name: ``"asyncio"``, ``"uvloop"``, or ``"auto"``: uvloop where it is installed.

    Raises:
        ValueError: another name.
        ImportError: uvloop is asked for and not installed.
    """
    if name not in ("auto", "asyncio", "uvloop"):
        raise ValueError(f"loop is 'auto', 'asyncio' or 'uvloop', not {name!r}")
    installed = importlib.util.find_spec("uvloop") is not None
    if name == "asyncio" or (name == "auto" and not installed):
        return asyncio.new_event_loop
    if not installed:
        raise ImportError("loop='uvloop' needs uvloop: install mpzmq-engine with its extra 'fast', or use 'auto'")
    import uvloop

    return uvloop.new_event_loop
