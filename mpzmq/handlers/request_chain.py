"""A request with middleware or dependencies around its handler."""

from __future__ import annotations

import asyncio
import contextvars
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from ..common.chaining import alone
from ..common.logs import Log
from ..common.text import text_of, type_name
from ..errors import InvalidArguments
from ..protocol.wire.kinds import GIVES, STREAMED, TAKES
from .dependencies import Dependencies
from .middleware import CallDetails, Chain, checked_result, close_items
from .slow_handlers import SLOW_HANDLER, SlowHandlers

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine

    from .invocation import Invocation
    from .stream_invocation import Streaming
    from .threads import HandlerThreads

__all__ = ["RequestChain", "Runners"]

log = Log(__name__)

_perf_counter: Final = time.perf_counter


class Runners:
    """What one dispatcher runs handlers with.

    Args:
        streaming: calls handlers whose data or results come piece by piece.
        threads: call those that block.
        expire_at: called with a deadline that middleware has set.

    Attributes:
        slow: logs plain handlers that hold the event loop.
        closing: the tasks that close dependencies of handlers whose threads were given up, and have returned.
    """

    def __init__(self, streaming: Streaming, threads: HandlerThreads, expire_at: Callable[[float], object]) -> None:
        self.streaming = streaming
        self.threads = threads
        self.expire_at = expire_at
        self.slow = SlowHandlers()
        self.closing: set[asyncio.Task[None]] = set()


class RequestChain(Chain):
    """The middleware around one request, the dependencies of its handler, and the handler itself.

    All of it runs in the one task of the request, and so in its one context.

    Args:
        running: the request.
        runners: call its handler.
        context: in which its task runs.

    Attributes:
        has_begun: whether its task has.
        in_thread: whether the handler is at work in a thread now, which cannot be interrupted.
        made: the dependencies of the handler, by parameter.
    """

    __slots__ = (
        "_context", "_dependencies", "_given_up", "_is_replaced", "_own_task", "_runners", "_running", "has_begun",
        "in_thread", "made",
    )  # fmt: skip

    def __init__(self, running: Invocation, runners: Runners, context: contextvars.Context) -> None:
        pipeline = running.handler.pipeline
        assert pipeline is not None
        super().__init__(pipeline.middleware, running.details())
        self._running = running
        self._runners = runners
        self.has_begun = self.in_thread = self._given_up = self._is_replaced = False
        self.made: dict[str, Any] | None = None
        self._dependencies: Dependencies | None = None
        self._context = context
        self._own_task: asyncio.Task[Any] | None = None

    def begin(self) -> Coroutine[Any, Any, Any]:
        """The whole of the request, to be awaited in its task."""
        self.has_begun = True
        return self._whole()

    async def _whole(self) -> Any:
        self._own_task = asyncio.current_task()
        try:
            running = self._running
            result = await (self._runners.streaming.run(running) if running.op in STREAMED else self.result())
        except BaseException as error:
            self.is_over = True
            await self._finish(error)
            raise
        self.is_over = True
        await self._finish(None)
        return result

    async def result(self) -> Any:
        """What the outermost middleware returns."""
        return checked_result(await self.step(0))

    async def items(self) -> Any:
        """What the outermost middleware returns for what comes piece by piece.

        Raises:
            TypeError: it is no async iterator.
        """
        items = await self.result()
        if not hasattr(type(items), "__aiter__"):
            raise TypeError(
                f"a middleware has returned {type_name(items)}, and what it stands around gives items: it returns what"
                " proceed() gives, or another async iterator"
            )
        return items

    def replace(self, call: CallDetails) -> None:
        """A middleware has replaced the call: what runs inside of it sees the other one."""
        super().replace(call)
        self._is_replaced = True
        running = self._running
        running.replace(list(call.args), dict(call.kwargs), dict(call.metadata))
        deadline = call.deadline
        if deadline is not None and (running.deadline is None or deadline < running.deadline):
            running.deadline = deadline
            if running.cancel_reason is None:
                running.due = deadline
                self._runners.expire_at(deadline)

    async def innermost(self) -> Any:
        """Makes the dependencies, and calls the handler.

        Returns:
            What it returned; of one that yields, its items.
        """
        self.check_open()
        running = self._running
        if running.is_late():
            raise asyncio.CancelledError
        self.task = asyncio.current_task()
        try:
            if running.handler.has_dependencies:
                return await self._call_with_dependencies()
            return await self._call()
        finally:
            self.task = None

    async def _call_with_dependencies(self) -> Any:
        running = self._running
        pipeline = running.handler.pipeline
        assert pipeline is not None
        dependencies = self._dependencies = Dependencies(running.context, pipeline.overrides)
        try:
            self.made = {
                name: await dependencies.get(depends)
                for name, _, depends in running.handler.injected
                if depends is not None
            }
            result = await self._call()
        except BaseException as error:
            if not self._given_up:
                await dependencies.close(error)
            raise
        if running.op in GIVES:
            return _ItemsWithDependencies(result, dependencies)
        await dependencies.close(None)
        return result

    async def _call(self) -> Any:
        running, runners = self._running, self._runners
        function = running.handler
        _, _, _, _, op, name, args, kwargs, _ = running.record
        if self._is_replaced:
            try:
                function.check([None, *args] if op in TAKES else args, kwargs)
            except Exception as error:
                what = f"{text_of(error)}; it is {name or 'the handler'}{function.shown}"
                raise alone(InvalidArguments(what)) from None
        if function.thread:
            return await self._call_in_thread()
        running.started = True
        if op in STREAMED:
            result = runners.streaming.call(running)
            return result if op in GIVES else await result
        began = _perf_counter()
        try:
            result = function.call(running, args, kwargs, self.made)
        finally:
            held = _perf_counter() - began
            if held > SLOW_HANDLER:
                runners.slow.held(running, held)
        return await result if function.is_async or type(result) is CoroutineType else result

    async def _call_in_thread(self) -> Any:
        running = self._running
        if asyncio.current_task() is not self._own_task:  # middleware goes on in another one
            self._context = contextvars.copy_context()
        self.in_thread = True
        try:
            return await self._runners.threads.call(running)
        except asyncio.CancelledError:
            if not running.started and running.claim():
                running.started = False  # it has not begun, and will not
            raise
        finally:
            self.in_thread = False

    def on_thread_given_up(self) -> None:
        """Nobody waits any more for a handler that is at work in a thread."""
        self._given_up = True

    def on_thread_returned(self, error: BaseException | None) -> None:
        """It has returned in the end: now its dependencies can be closed."""
        dependencies, self._dependencies = self._dependencies, None
        if dependencies is None:
            return
        closing = self._runners.closing
        task = asyncio.get_running_loop().create_task(self._close_late(dependencies, error), context=self._context)
        closing.add(task)
        task.add_done_callback(closing.discard)

    async def _close_late(self, dependencies: Dependencies, error: BaseException | None) -> None:
        try:
            await dependencies.close(error)
        except Exception as raised:
            text = "%r: a dependency raised when it was closed"
            log.error(text, self._running, exc_info=raised, about=self._running)

    async def _finish(self, error: BaseException | None) -> None:
        """Ends what the middleware has left behind.

        Args:
            error: with which the request ends.

        Raises:
            BaseException: what closing the dependencies has raised.
        """
        try:
            if await self.end_left_behind():
                text = "%r: a middleware had ended before what it proceeded to, which was cancelled"
                log.error(text, self._running, about=self._running)
            await close_items(self.given, self._running, self._running)
        finally:
            if self._dependencies is not None and not self._given_up:
                await self._dependencies.close(error)

    def release(self) -> None:
        """The request has ended: nothing of what was asked is held any longer."""
        self.is_over = True
        self.made = self._own_task = None
        self.call = CallDetails(self._running, (), None, None, None)


class _ItemsWithDependencies:
    """What a handler yields that has dependencies: they are closed when it has ended.

    Args:
        items: what it yields.
        dependencies: those of its request.
    """

    def __init__(self, items: AsyncIterable[Any], dependencies: Dependencies) -> None:
        self._given = items
        self._items = aiter(items)  # a decorator may give what is only to be iterated
        self._dependencies = dependencies

    def __aiter__(self) -> _ItemsWithDependencies:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._items)
        except StopAsyncIteration:
            await self._dependencies.close(None)
            raise
        except BaseException as error:
            await self._dependencies.close(error)
            raise

    async def aclose(self) -> None:
        """Ends the handler; its dependencies are closed with the request."""
        if hasattr(self._given, "aclose"):
            await self._given.aclose()
