"""What a container has around its handlers and beside them, and how it is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ..common.text import repr_of
from ..handlers.registration import Registration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ..errors import RemoteError
    from ..handlers.middleware import CallDetails, Middleware, Proceed

__all__ = ["HandlerRegistration"]

_H = TypeVar("_H", bound="Callable[..., Any]")
_M = TypeVar("_M", bound="Callable[[CallDetails, Proceed], Awaitable[Any]]")
_F = TypeVar("_F", bound="Callable[[CallDetails, Any], RemoteError | Awaitable[RemoteError]]")


class HandlerRegistration(Registration):
    """A server's middleware, what its callers are told of errors, and what hears of changes.

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

    @property
    def registered_middleware(self) -> tuple[Middleware, ...]:
        """The middleware that is registered, outermost first."""
        return self._registry.pipeline.middleware

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

    def on_state_change(self, handler: _H) -> _H:
        """Registers what runs before the reply to SETSTATE, with the new :class:`Status`; it may raise ``Refused``.

        What the same engine asks behind the change waits until this has ended; GETSTATE and describe do not. Like every
        handler it is cancelled at the deadline of its request, or with its caller: then the status stays as it is.

        Args:
            handler: takes the new status.

        Returns:
            The handler, unchanged.

        Raises:
            ValueError: there is one already.
        """
        if self._registry.state_change is not None:
            raise ValueError("there is a handler for state changes already: a server has one")
        self._registry.state_change = handler
        return handler

    def on_engine_change(self, handler: _H) -> _H:
        """Registers what is called when engines come and go, with an :class:`EngineJoined` or :class:`EngineLeft`.

        An engine has left when its connection is known to be gone, and joins again if it is back with the same session.
        The handler, ``def`` or ``async def``, is called for one change after the other, in order, and not for an engine
        that goes and is back while it is busy. What it raises is logged. At the close, all that are there have left.

        Args:
            handler: takes the event.

        Returns:
            The handler, unchanged.

        Raises:
            ValueError: there is one already.
        """
        if self._registry.engine_change is not None:
            raise ValueError("there is a handler for engine changes already: a server has one")
        self._registry.engine_change = handler
        return handler
