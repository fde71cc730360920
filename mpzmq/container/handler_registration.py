"""What a container has around its handlers, and how it is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ..common.text import repr_of
from ..handlers.registration import Registration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ..errors import RemoteError
    from ..handlers.middleware import CallDetails, Proceed

__all__ = ["HandlerRegistration"]

_M = TypeVar("_M", bound="Callable[[CallDetails, Proceed], Awaitable[Any]]")
_F = TypeVar("_F", bound="Callable[[CallDetails, Any], RemoteError | Awaitable[RemoteError]]")


class HandlerRegistration(Registration):
    """A server's middleware, and what its callers are told of errors.

    Args:
        propagate: keys of metadata that calls made inside a handler carry on.
        typed: as in :class:`ContainerServer`.

    Raises:
        TypeError: ``propagate`` is no tuple of str.
    """

    def __init__(self, propagate: Iterable[str], *, typed: bool) -> None:
        super().__init__(typed=typed)
        keys = None if isinstance(propagate, str | bytes) else tuple(propagate)
        if keys is None or not all(isinstance(key, str) for key in keys):
            raise TypeError(f"propagate is a tuple of str, such as ('traceparent',), not {repr_of(propagate)}")
        self._registry.pipeline.propagate = keys

    def middleware(self, middleware: _M) -> _M:
        """Registers what stands around every handler: ``async def m(call, proceed): return await proceed(call)``.

        It runs once for each request that may run, before the handler's dependencies are made: what is refused for its
        arguments, the allow-list or a lack of room never reaches it. Several stand around one another, the first one
        outermost. What the container answers by itself, its state and its description, passes none. One that is
        registered while the server serves counts for the requests that start after that.

        ``Refused``, ``NotPermitted``, ``Overloaded`` and ``InvalidArguments``, raised by it before the handler begins,
        are told as they are, with ``executed`` NO. Everything else that it raises is a ``RemoteError``.

        Args:
            middleware: takes a :class:`CallDetails` and a :class:`Proceed`; returns the result, of a stream or a
                channel an async iterator.

        Returns:
            The middleware, unchanged.

        Raises:
            TypeError: it is not ``async def``.
        """
        self._registry.add_middleware(middleware)
        return middleware

    def on_error(self, error: type[Exception], /) -> Callable[[_F], _F]:
        """Registers what callers are told where a handler has raised this, or a class of it, as a decorator.

        ``@server.on_error(KeyError)`` over ``def f(call, error): return RemoteError("no such thing", code="missing")``.
        Of several, the one for the nearest class counts. It is asked last, behind all middleware, and not for refusals,
        nor for a ``RemoteError`` that the handler has raised itself.

        Args:
            error: the class.

        Returns:
            What registers the function, ``def`` or ``async def``, which takes a :class:`CallDetails` and the error, and
            returns it unchanged. Where one is ``async def``, every handler runs in a task.

        Raises:
            TypeError: it is no class of ``Exception``, or the function cannot be called.
            ValueError: there is one for this class already.
        """

        def register(handler: _F) -> _F:
            self._registry.add_on_error(error, handler)
            return handler

        return register
