"""The handle of a container for programs without an event loop."""

from __future__ import annotations

from .handle import BlockingContainer, BlockingOptionsView, BlockingStream, connect

__all__ = ["BlockingContainer", "BlockingOptionsView", "BlockingStream", "connect"]
