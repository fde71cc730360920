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
        text, kind = await in_daemon_thread("mpzmq-metrics", lambda: _written(target))
    except ImportError as error:
        return text_reply(HTTPStatus.NOT_IMPLEMENTED, str(error))
    return Reply(HTTPStatus.OK, text, kind)


def _written(target: object) -> tuple[bytes, str]:
    """The text of all metrics, and its type. What that needs is imported the first time, which takes a while, too.

    Raises:
        ImportError: the extra is missing.
    """
    client = required("prometheus_client", "metrics", "/metrics")
    registry = client.CollectorRegistry()
    # It knows servers and workers, which stand above: so it is found by its name.
    registry.register(import_module("mpzmq.prometheus").collector(target))
    client.ProcessCollector(registry=registry)  # its own registry of a program has these already
    return client.generate_latest(registry), client.CONTENT_TYPE_LATEST
