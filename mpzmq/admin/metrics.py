"""The same numbers for Prometheus, where the extra ``metrics`` is installed."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from importlib import import_module

from .http_server import Reply, text_reply

__all__ = ["metrics_reply"]

_MISSING = "metrics need prometheus_client: install mpzmq-engine[metrics] (from a checkout: pip install '.[metrics]')"


async def metrics_reply(target: object, seconds: float) -> Reply:
    """The metrics of a server or a worker, as Prometheus reads them.

    Args:
        target: which.
        seconds: for which one family after the other may hold the event loop.
    """
    try:
        client = import_module("prometheus_client")
        # It knows servers and workers, which stand above: so it is found by its name.
        collect = import_module("mpzmq.prometheus").collector(target).collect
    except ImportError:
        return text_reply(HTTPStatus.NOT_IMPLEMENTED, _MISSING)
    loop = asyncio.get_running_loop()
    pieces, until = [], loop.time() + seconds
    for family in collect():
        pieces.append(client.generate_latest(_OneFamily(family)))
        if loop.time() >= until:
            await asyncio.sleep(0)
            until = loop.time() + seconds
    return Reply(HTTPStatus.OK, b"".join(pieces), client.CONTENT_TYPE_LATEST)


class _OneFamily:
    """As much of a registry as is asked for its text."""

    def __init__(self, family: object) -> None:
        self._family = family

    def collect(self) -> list[object]:
        """The family."""
        return [self._family]
