"""Middleware that is ready to be registered, and short enough to be copied: ``server.middleware(Timing(histogram))``.

Each of them goes with ``@server.middleware``, and with ``@worker.middleware`` where that makes sense.
"""

from __future__ import annotations

import hmac
import json
import operator
import time
from typing import TYPE_CHECKING, Any, Final

from .common.logs import Log
from .common.set_module import set_module
from .common.text import type_name
from .errors import NotPermitted, Overloaded

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable

    from .handlers.middleware import CallDetails, Proceed

__all__ = ["Audit", "RateLimit", "Timing", "Token"]

log = Log(__name__)

BUCKETS: Final = 10_000
"""Users and functions that a RateLimit knows at the same time; the one that was used first is forgotten."""
USER: Final = operator.attrgetter("user")


@set_module("mpzmq.middleware")
class Timing:
    """Tells a function how long each call took, streams until they have ended.

    Args:
        record: called with the :class:`mpzmq.CallDetails`, the seconds, and the error or None; what it raises is
            logged.
    """

    def __init__(self, record: Callable[[CallDetails, float, BaseException | None], object]) -> None:
        self._record = record

    async def __call__(self, call: CallDetails, proceed: Proceed) -> Any:
        """Goes on, and takes the time."""
        began = time.perf_counter()

        def done(error: BaseException | None) -> None:
            try:
                self._record(call, time.perf_counter() - began, error)
            except Exception as raised:
                log.error("Timing: %r raised", self._record, exc_info=raised, about=call)

        return await _observed(call, proceed, done)


@set_module("mpzmq.middleware")
class RateLimit:
    """Refuses with ``Overloaded``, whose ``retry_after`` says when there is room: a token bucket per user and function.

    Without ``Security``, and in a worker, no call has a user: give ``by``, or all of them share the function's bucket.

    Args:
        rate: calls a second.
        burst: calls that may come at once, one at least; None: those of one second.
        by: called with the :class:`mpzmq.CallDetails`, returns what stands for the user; by default that of the
            connection.
    """

    def __init__(self, rate: float, burst: int | None = None, *, by: Callable[[CallDetails], object] = USER) -> None:
        if not (rate > 0 and (burst is None or burst >= 1)):
            raise ValueError(f"a RateLimit has a rate above 0 and a burst of 1 or more, not {rate!r} and {burst!r}")
        self._rate, self._full = rate, max(1.0, rate) if burst is None else float(burst)
        self._by = by
        self._buckets: dict[int, tuple[float, float]] = {}

    async def __call__(self, call: CallDetails, proceed: Proceed) -> Any:
        """Goes on if there is a token."""
        # Of what callers say of themselves the hash is kept, however long it is.
        key, now = hash((self._by(call), call.function)), time.monotonic()
        tokens, since = self._buckets.pop(key, (self._full, now))  # the last one used stands last
        tokens = min(self._full, tokens + (now - since) * self._rate)
        self._buckets[key] = tokens - (tokens >= 1.0), now
        if len(self._buckets) > BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        if tokens < 1.0:
            refusal = Overloaded(f"more than {self._rate:g} calls a second of {call.function or 'plain requests'}")
            refusal.retry_after = (1.0 - tokens) / self._rate
            raise refusal
        return await proceed(call)


@set_module("mpzmq.middleware")
class Audit:
    """Writes one line of JSON for each call: who, what, how long, and with what outcome. Never the arguments.

    Args:
        logger: takes it, at INFO; None: the logger ``mpzmq.audit``.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._log = Log("mpzmq.audit" if logger is None else logger)

    async def __call__(self, call: CallDetails, proceed: Proceed) -> Any:
        """Goes on, and tells of it."""
        began = time.perf_counter()

        def done(error: BaseException | None) -> None:
            told = {"op": call.op, "function": call.function, "user": call.user, "peer": call.peer}
            seconds = round(time.perf_counter() - began, 6)
            outcome = "ok" if error is None else type_name(error)
            request_id = None if call.request_id is None else str(call.request_id)
            line = {"request": request_id, **told, "seconds": seconds, "outcome": outcome}
            self._log.info("%s", json.dumps(line), about=call)

        return await _observed(call, proceed, done)


@set_module("mpzmq.middleware")
class Token:
    """Lets those pass whose metadata has a token, and refuses others with ``NotPermitted``.

    It is for a network that others cannot read: without ``Security`` a token goes over it as it is.

    Args:
        tokens: those that are accepted; several while one is replaced by another.
        key: of the metadata.
    """

    def __init__(self, *tokens: str, key: str = "token") -> None:
        if not tokens or not all(isinstance(token, str) and token for token in tokens):
            raise ValueError("Token() takes the tokens that are accepted, as strs, one at least")
        self._tokens = [_bytes(token) for token in tokens]
        self._key = key

    async def __call__(self, call: CallDetails, proceed: Proceed) -> Any:
        """Goes on if the token is right, which takes the same time whatever it is."""
        given = call.metadata.get(self._key)
        shown = _bytes(given) if isinstance(given, str) else b""
        if not sum([hmac.compare_digest(shown, token) for token in self._tokens]):
            raise NotPermitted(f"the metadata has no valid {self._key!r}")
        return await proceed(call)


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")


async def _observed(call: CallDetails, proceed: Proceed, done: Callable[[BaseException | None], None]) -> Any:
    """Goes on, and tells of the end, of what comes piece by piece when its last item has gone."""
    try:
        result = await proceed(call)
    except BaseException as error:
        done(error)
        raise
    if call.op in ("stream", "channel"):
        return _until_end(result, done)
    done(None)
    return result


async def _until_end(items: AsyncIterator[Any], done: Callable[[BaseException | None], None]) -> AsyncIterator[Any]:
    try:
        async for item in items:
            yield item
    except BaseException as error:
        done(error)
        raise
    done(None)
