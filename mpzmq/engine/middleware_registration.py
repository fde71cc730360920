"""How what stands around the calls of a worker is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .middleware_sender import WorkerMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..handlers.middleware import CallDetails, Middleware, Proceed

__all__ = ["MiddlewareRegistration"]

_M = TypeVar("_M", bound="Callable[[CallDetails, Proceed], Awaitable[Any]]")


class MiddlewareRegistration:
    """A worker's middleware."""

    def __init__(self) -> None:
        self._outgoing = WorkerMiddleware()

    def middleware(self, middleware: _M) -> _M:
        """Registers what stands around every call that this worker sends, before it connects to anything.

        It runs once for each call, however often that is sent: outside of a group's choice of a member, of another one
        after that, and of a ``fallback``. Of ``call_all()``, ``call_each()`` and ``each()``, each member is a call of
        its own. What is asked of a container itself, its state and its description, passes none, nor do the functions
        of this worker that containers call. The caller gets what it raises as it is.

        Args:
            middleware: takes a :class:`CallDetails` and a :class:`Proceed`; returns the result, of a stream or a
                channel an async iterator.

        Returns:
            The middleware, unchanged.

        Raises:
            TypeError: it is not ``async def``.
            RuntimeError: the worker has connected already.
        """
        self._outgoing.add(middleware)
        return middleware

    @property
    def registered_middleware(self) -> tuple[Middleware, ...]:
        """The middleware that is registered, outermost first."""
        return self._outgoing.middleware
