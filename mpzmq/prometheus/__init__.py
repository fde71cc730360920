"""Counters for Prometheus; needs the extra ``metrics``."""

from __future__ import annotations

from ..common.extras import required

required("prometheus_client.registry", "metrics", "mpzmq.prometheus")

from .collector import collector  # noqa: E402  (what it needs is asked for first)

__all__ = ["collector"]
