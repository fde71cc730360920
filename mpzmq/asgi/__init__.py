"""Functions of containers over HTTP: an ASGI application."""

from __future__ import annotations

from .gateway import Gateway, gateway

__all__ = ["Gateway", "gateway"]
