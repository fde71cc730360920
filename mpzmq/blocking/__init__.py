"""The handle of a container for programs without an event loop."""

from __future__ import annotations

from .handle import BlockingContainer, connect
from .options_view import BlockingOptionsView
from .stream import BlockingStream

__all__ = ["BlockingContainer", "BlockingOptionsView", "BlockingStream", "connect"]
