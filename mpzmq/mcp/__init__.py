"""Functions of containers as tools of agents, by the Model Context Protocol; needs the extra ``mcp``."""

from __future__ import annotations

from ..common.extras import required

required("mcp.server.lowlevel", "mcp", "mpzmq.mcp")

from .server import server  # noqa: E402  (what it needs is asked for first)

__all__ = ["server"]
