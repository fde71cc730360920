"""Middleware: what stands around a call, on either side, and the chain through which a call goes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import CoroutineType, MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..common.logs import Log
from ..common.set_module import set_module
from ..common.text import repr_of, type_name
from ..protocol.requester.options import UNSET
from ..protocol.wire.kinds import GIVES, Op
from .signatures import called_first, works_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from ..common.logs import LoggedRequest
    from ..protocol.requester.options import _U

    Middleware = Callable[["CallDetails", "Proceed"], Awaitable[Any]]

__all__ = ["CallDetails", "CallFacts", "Chain", "Proceed", "checked_middleware", "checked_result", "close_items"]

log = Log(__name__)

_OPS: Final = {
    Op.INVOKE: "request",
    Op.CALL: "call",
    Op.STREAM: "stream",
    Op.UPLOAD: "upload",
    Op.CHANNEL: "channel",
}
"""What is asked, in the words of the methods that ask it."""

LEFT_BEHIND_TIMEOUT: Final = 1.0
"""Seconds in which a call that middleware has left behind in another task has to end, once it was cancelled."""


class CallFacts(Protocol):
    """What is known of a call and stays as it is on its way; :class:`CallDetails` says what each means."""

    @property
    def op(self) -> int:
        """One of :class:`~mpzmq.protocol.wire.kinds.Op`."""

    @property
    def function(self) -> str | None:
        """The name of the function."""

    @property
    def request_id(self) -> UUID | None:
        """The id of the request."""

    @property
    def user_name(self) -> str | None:
        """The authenticated name of who asks."""

    @property
    def peer(self) -> str:
        """The name of the other side."""

    @property
    def remote_id(self) -> UUID | None:
        """The id of the container."""


@set_module("mpzmq")
class CallDetails:
    """A call on its way through middleware. It does not change: :meth:`replace` makes another one of it."""

    __slots__ = ("_args", "_deadline", "_facts", "_kwargs", "_metadata")

    def __init__(
        self,
        facts: CallFacts,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None,
        deadline: float | None,
    ) -> None:
        self._facts = facts
        self._args = args
        self._kwargs = kwargs
        self._metadata = metadata
        self._deadline = deadline

    @property
    def function(self) -> str | None:
        """The name of the function; None: plain data, for the handler of ``on_invoke``."""
        return self._facts.function

    @property
    def op(self) -> str:
        """The method by which it is asked: ``"request"``, ``"call"``, ``"stream"``, ``"upload"`` or ``"channel"``."""
        return _OPS[self._facts.op]

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments by position, of a request its data; items of an upload or a channel are not among them."""
        return tuple(self._args)

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The arguments by name."""
        return MappingProxyType({} if self._kwargs is None else self._kwargs)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What is sent along."""
        return MappingProxyType({} if self._metadata is None else self._metadata)

    @property
    def request_id(self) -> UUID | None:
        """The id of the request; in a worker, None unless the caller has chosen one."""
        return self._facts.request_id

    @property
    def user(self) -> str | None:
        """The authenticated name of the engine; None on a connection without security, and in a worker."""
        return self._facts.user_name

    @property
    def peer(self) -> str:
        """The name of the engine that asks; in a worker, that of the container, or of the group, that is asked."""
        return self._facts.peer

    @property
    def deadline(self) -> float | None:
        """The time at which the caller stops waiting, on the event loop's clock; None: never."""
        return self._deadline

    @property
    def remote_id(self) -> UUID | None:
        """In a worker, the id of the container that is asked; None for a group, and in a container."""
        return self._facts.remote_id

    def replace(
        self,
        *,
        args: Iterable[Any] | _U = UNSET,
        kwargs: Mapping[str, Any] | _U = UNSET,
        metadata: Mapping[str, Any] | _U = UNSET,
        deadline: float | _U = UNSET,
    ) -> CallDetails:
        """This call with other arguments, other metadata or an earlier deadline, for ``proceed()``.

        Args:
            args: all arguments by position.
            kwargs: all arguments by name.
            metadata: all that is sent along; str keys.
            deadline: on the event loop's clock, such as ``asyncio.get_running_loop().time() + 1.0``.

        Returns:
            The other call.

        Raises:
            TypeError: one of them is of the wrong type.
            ValueError: the deadline is later than the one that there is, or no time.
        """
        return CallDetails(
            self._facts,
            self._args if args is UNSET else _arguments(args),
            self._kwargs if kwargs is UNSET else _named("kwargs", kwargs),
            self._metadata if metadata is UNSET else _named("metadata", metadata),
            self._deadline if deadline is UNSET else self._earlier(deadline),
        )

    def _earlier(self, deadline: object) -> float:
        if isinstance(deadline, bool) or not isinstance(deadline, int | float):
            raise TypeError(f"a deadline is a time on the event loop's clock, not {type_name(deadline)}")
        try:
            deadline = float(deadline)
        except OverflowError:  # an int, and not shown: text of one may be refused for its length
            raise ValueError("a deadline is a time on the event loop's clock, and this int is no time of it") from None
        if math.isnan(deadline) or deadline > (math.inf if self._deadline is None else self._deadline):
            raise ValueError(f"the deadline {deadline} is not earlier than {self._deadline}, which the caller has set")
        return deadline

    def __repr__(self) -> str:
        return f"<CallDetails {self.op} function={self.function!r} peer={self.peer!r}>"


@set_module("mpzmq")
class Proceed(Protocol):
    """What a middleware goes on with: ``await proceed(call)``, once at most."""

    def __call__(self, call: CallDetails, /) -> Awaitable[Any]:
        """Goes on to the next middleware, or to what all of them stand around.

        Args:
            call: the one that the middleware was given, or what its ``replace()`` has made of it.

        Returns:
            What is awaited for the result; that of a stream or a channel is an async iterator.

        Raises:
            RuntimeError: it was called before, or the request has ended.
            TypeError: this is not the call.
        """


class Chain(ABC):
    """One call, the middleware around it, and its innermost step.

    Attributes:
        call: as it is now.
        given: the items that each step has given, if it is a stream or a channel; the innermost step's first.
        is_over: whether the outermost middleware has ended: nothing begins any more.
        task: in which the innermost step runs; None: it does not.
    """

    __slots__ = ("_gives", "_middleware", "call", "given", "is_over", "task")

    def __init__(self, middleware: Sequence[Middleware], call: CallDetails) -> None:
        self._middleware = middleware
        self._gives = call._facts.op in GIVES
        self.call = call
        self.given: list[Any] = []
        self.is_over = False
        self.task: asyncio.Task[Any] | None = None

    def step(self, index: int) -> Awaitable[Any]:
        """Goes on with the middleware of this number, or with the innermost step behind the last one."""
        return self._noted(index) if self._gives else self._step(index)

    async def _noted(self, index: int) -> Any:
        items = await self._step(index)
        self.given.append(items)
        return items

    def _step(self, index: int) -> Awaitable[Any]:
        if index == len(self._middleware):
            return self.innermost()
        return self._middleware[index](self.call, _Next(self, index + 1))

    @abstractmethod
    async def innermost(self) -> Any:
        """What the middleware stands around."""

    def replace(self, call: CallDetails) -> None:
        """A middleware has replaced the call."""
        self.call = call

    def check_open(self) -> None:
        """Before anything begins.

        Raises:
            RuntimeError: the request has ended.
        """
        if self.is_over:
            raise RuntimeError(
                "proceed() came too late: the middleware has returned, and with it the request has ended"
            )

    async def end_left_behind(self) -> bool:
        """Ends the innermost step, if the outermost middleware has ended before it. Whether that was so."""
        task = self.task
        if task is None or task is asyncio.current_task():
            return False
        task.cancel()
        await asyncio.wait((task,), timeout=LEFT_BEHIND_TIMEOUT)
        return True

    def owns(self, call: object) -> bool:
        """Whether this is the call of this chain, or one that was made of it."""
        return type(call) is CallDetails and call._facts is self.call._facts


class _Next:
    """The ``proceed`` of one middleware."""

    __slots__ = ("_chain", "_index")

    def __init__(self, chain: Chain, index: int) -> None:
        self._chain = chain
        self._index = index

    def __call__(self, call: CallDetails, /) -> Awaitable[Any]:
        chain, index = self._chain, self._index
        if index < 0:
            raise RuntimeError("proceed() was called before: a middleware goes on once at most")
        if call is not chain.call:
            if not chain.owns(call):
                raise TypeError(f"proceed() takes the call, or what call.replace() has made of it, not {repr_of(call)}")
            chain.check_open()
            chain.replace(call)
        self._index = -1
        return chain.step(index)


async def close_items(given: list[Any], what: object, about: LoggedRequest | None = None) -> None:
    """Closes the items that the steps of a chain have given, those of the outermost first.

    They are not left to the garbage collector, which would have them end in another task, some time later.

    Args:
        given: by each step, the innermost first; it is empty afterwards.
        what: the request or stream, for the log.
        about: the same, where it is a request with an id.
    """
    async with contextlib.AsyncExitStack() as stack:
        for items in given:
            stack.push_async_callback(_close, items, what, about)
        given.clear()


async def _close(items: Any, what: object, about: LoggedRequest | None) -> None:
    if hasattr(items, "aclose"):
        try:
            await items.aclose()
        except Exception as raised:
            log.error("%r: what gives its items raised when it was closed", what, exc_info=raised, about=about)


def checked_middleware(middleware: Any) -> Any:
    """What is registered as middleware.

    Raises:
        TypeError: it is not an ``async def`` function, nor an object with such a ``__call__``.
    """
    if callable(middleware) and not isinstance(middleware, type):
        for function in (middleware, called_first(middleware), works_in(middleware)):
            if inspect.iscoroutinefunction(function):
                return middleware
    raise TypeError(f"a middleware is async def m(call, proceed), which {repr_of(middleware)} is not")


def checked_result(result: Any) -> Any:
    """What the outermost middleware has returned.

    Raises:
        TypeError: it is a coroutine: somebody has forgotten to await ``proceed()``.
    """
    if type(result) is CoroutineType:
        result.close()
        raise TypeError("a middleware has returned a coroutine: return await proceed(call), and not proceed(call)")
    return result


def _arguments(args: object) -> tuple[Any, ...]:
    if isinstance(args, str | bytes | bytearray | Mapping) or not isinstance(args, Iterable):
        raise TypeError(f"args are a tuple or a list, not {type_name(args)}")
    return tuple(args)


def _named(what: str, given: object) -> dict[str, Any]:
    if isinstance(given, Mapping) and all(isinstance(key, str) for key in given):
        return dict(given)
    raise TypeError(f"{what} are a mapping with str keys")
