"""Functions of containers over HTTP: an ASGI application."""

from __future__ import annotations

from .application import Gateway, gateway

__all__ = ["Gateway", "gateway"]
