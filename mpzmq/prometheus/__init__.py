"""Counters for Prometheus, with the extra ``metrics``: ``REGISTRY.register(mpzmq.prometheus.collector(server))``."""

from .collector import collector as collector

__all__ = ["collector"]
