"""Who one side is, and whom it accepts."""

from __future__ import annotations

from .credentials import Security, of_container, of_engine

__all__ = ["Security", "of_container", "of_engine"]
