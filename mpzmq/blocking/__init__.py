"""Handles of a container, and of a group, for programs without an event loop."""

from __future__ import annotations

from .group import BlockingGroup, group
from .handle import BlockingContainer, connect
from .options_view import BlockingOptionsView
from .stream import BlockingStream

__all__ = ["BlockingContainer", "BlockingGroup", "BlockingOptionsView", "BlockingStream", "connect", "group"]
