"""The current request on the records of the application's own loggers."""

from __future__ import annotations

import logging

from ..common.logs import request_attributes
from ..common.set_module import set_module
from ..context import current_request

__all__ = ["RequestLogFilter"]

_NONE = {"request_id": None, "function": None, "peer": None}


@set_module("mpzmq")
class RequestLogFilter(logging.Filter):
    """Gives each record ``request_id``, ``function`` and ``peer`` of the request that the running code works for.

    It stands on a handler of ``logging``, whose format may name them: ``%(request_id)s``. Records of the library
    that speak of a request keep theirs. Where there is no request all three are None. What others have chosen is
    escaped.

    Args:
        name: as for ``logging.Filter``: records of other loggers get nothing. They pass, as all records do.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Adds what is missing; True, always."""
        if not hasattr(record, "request_id"):
            request = current_request() if super().filter(record) else None
            vars(record).update(_NONE if request is None else request_attributes(request))
        return True
