"""The same numbers for Prometheus, where the extra ``metrics`` is installed."""

from __future__ import annotations

from http import HTTPStatus
from importlib import import_module

from ..common.daemon_threads import in_daemon_thread
from ..common.extras import required
from .http_server import Reply, text_reply

__all__ = ["metrics_reply"]


async def metrics_reply(target: object) -> Reply:
    """The metrics of a server or a worker, as Prometheus reads them.

    They are collected and written in a thread, since for a thousand links that takes a while; in one of its own, since
    those of the event loop may all be at work for the application.

    Args:
        target: which.
    """
    try:
        client = required("prometheus_client", "metrics", "/metrics")
        # It knows servers and workers, which stand above: so it is found by its name.
        registry = client.CollectorRegistry()
        registry.register(import_module("mpzmq.prometheus").collector(target))
    except ImportError as error:
        return text_reply(HTTPStatus.NOT_IMPLEMENTED, str(error))
    text = await in_daemon_thread("mpzmq-metrics", lambda: client.generate_latest(registry))
    return Reply(HTTPStatus.OK, text, client.CONTENT_TYPE_LATEST)
