"""Requests to handlers: what may run, is started in order, and ended when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import contextvars
import difflib
import logging
import sys
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..context import current
from ..errors import EncodeError, Refused, RemoteError
from ..message import Executed, Status
from ..protocol.pending import Deadlines
from ..protocol.wire import Code, Op
from .answers import Answers, is_own_word
from .builtin import describe, get_state, set_state
from .registry import Function
from .running import Ending, Running
from .threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..config import Limits
    from ..protocol.handshake import Inbox, Request, Sessions
    from ..protocol.outbox import Item
    from ..protocol.peer import Peer
    from ..protocol.wire import Record
    from .registry import Registry

__all__ = ["Dispatcher"]

log = logging.getLogger(__name__)

SLOW_HANDLER = 0.1
"""Seconds for which a plain handler may hold the event loop before it is logged."""

CLOSE_TIMEOUT = 1.0
"""Seconds that cancelled handlers have to end in when the server closes."""

LONGEST_NAME, SIMILAR_OF = 64, 256
"""How much of a mistyped name is compared with how many functions: a stranger must not buy much work with one frame."""

_STOP, _ENGINE_ENDED, _CALL, _INVOKE = Status.STOP, Ending.ENGINE, Op.CALL, Op.INVOKE
"""Names of the module: looking a member up in its enum takes 0.1 us (Python 3.11), and every request asks."""

_ENDED: Record = []

_EAGER = sys.version_info >= (3, 12)


class Dispatcher:
    """Runs the requests of one container.

    Args:
        registry: the handlers.
        sessions: the engines, for status and draining.
        limits: bounds.
        reply: takes a reply to be sent.
        name: the container's name, for threads and logs.
    """

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        limits: Limits,
        reply: Callable[[Peer, Item], None],
        name: str,
    ) -> None:
        self.state: Any = None
        """The value of the server's lifespan."""
        self.received = self.replied = self.failed = self.refused = self.cancelled = 0
        self.deadlines = Deadlines()
        self._registry = registry
        self._functions = registry.functions
        self._sessions = sessions
        self._answers = Answers(sessions)
        self._limits = limits
        self._reply = reply
        self._threads = Threads(limits.threads, name)
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._running: dict[tuple[Peer, bytes], Running] = {}
        self._behind_tasks = 0  # bursts whose tasks have not begun
        self._has_spawned = False  # whether this burst has made one
        self._slow: set[str | None] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._abandoned: list[asyncio.Task[None]] = []  # the event loop does not hold them
        self._builtin = {
            Op.GETSTATE: Function(None, get_state, thread=False, cancellable=True),
            Op.SETSTATE: Function(None, set_state(registry, sessions), thread=False, cancellable=False),
            Op.DESCRIBE: Function(None, describe(registry, sessions, name), thread=False, cancellable=True),
        }

    @property
    def in_flight(self) -> int:
        """How many handlers have not ended."""
        return self.received - self.replied - self.failed - self.refused - self.cancelled

    def start(self, inbox: Inbox, now: float) -> None:
        """Starts what one burst of messages asks for, in order.

        A CANCEL anywhere in the burst stops its request before it starts.
        """
        for key in inbox.cancels:
            running = self._running.get(key)
            if running is not None:
                self._cancel(running, Ending.ENGINE)
        for peer in inbox.departed:
            for running in [running for key, running in self._running.items() if key[0] is peer]:
                self._cancel(running, Ending.ENGINE)
        self._has_spawned = False
        for request in inbox.requests:
            if request is None:
                self.received += 1
                self.cancelled += 1
            else:
                self._admit(request, now)

    def expire(self, now: float) -> None:
        """Ends the handlers whose deadline has come."""
        if self.deadlines.sweep(now, lambda: (running.due for running in self._running.values())):
            for running in list(self._running.values()):
                if running.due is not None and running.due <= now:
                    running.due = None
                    self._cancel(running, Ending.DEADLINE)

    async def idle(self) -> None:
        """Waits until no handler runs."""
        while self._running:
            future: asyncio.Future[None] = self._loop.create_future()
            self._idle.append(future)
            await future

    async def close(self) -> None:
        """Cancels what runs, and waits for it as far as it can be cancelled."""
        for running in list(self._running.values()):
            self._cancel(running, Ending.SERVER, force=True)
        tasks = [running.task for running in self._running.values() if running.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        self._abandoned = [task for task in tasks if not task.done()]
        for running in list(self._running.values()):
            running.ending = running.ending or Ending.SERVER  # one that has not begun will not
            log.warning("%r did not end when it was cancelled, and is abandoned", running)
            self._answer_cancelled(running, Ending.SERVER)
        self._threads.close()

    # Admission

    def _admit(self, request: Request, now: float) -> None:
        peer, tag, record = request
        if self._running and (known := self._running.get((peer, tag))) is not None:
            self._join(known, peer, record)
            return
        self.received += 1
        _, _, remaining, _, op, name, args, kwargs, _ = record
        if op == _CALL:
            function = self._functions.get(name)
        else:
            function = self._registry.invoke if op == _INVOKE else self._builtin.get(op)
        sessions = self._sessions
        if sessions.draining is not None and op not in self._builtin:
            self._refuse(peer, tag, Code.DRAINING, sessions.draining)
        elif sessions.status is _STOP and op not in self._builtin:
            self._refuse(peer, tag, Code.STOPPED, "its status is STOP")
        elif function is None:
            self._refuse(peer, tag, Code.UNSUPPORTED, self._unsupported(op, name))
        elif remaining is not None and remaining <= 0:
            self._refuse(peer, tag, Code.EXPIRED, "its deadline had passed when it was read")
        elif peer.in_flight >= self._limits.in_flight:
            text = f"this engine has {peer.in_flight} requests running already (Limits.in_flight)"
            self._refuse(peer, tag, Code.OVERLOADED, text, {"retry_after": 0.1})
        else:
            if kwargs or not function.least <= len(args) <= function.most:
                try:
                    function.check(args, kwargs)
                except TypeError as error:
                    signature = f"{name or 'the handler'}{function.signature}"
                    self._refuse(peer, tag, Code.INVALID_ARGUMENTS, f"{error}; it is {signature}")
                    return
            deadline = None if remaining is None else now + remaining / 1000
            running = Running(peer, tag, record, function, deadline, self.state, self._clock)
            if function.is_async or function.thread:
                self._spawn(running, self._in_thread(running) if function.thread else None)
            elif self._behind_tasks:
                # Tasks that were made in this pass have not begun; this one was issued after them.
                self._keep(running)
                self._loop.call_soon(self._run_plain, running)
            else:
                self._run_plain(running)

    def _unsupported(self, op: int, name: str | None) -> str:
        if op != Op.CALL:
            return "it has no handler for plain requests: call one of its functions, or add @server.on_invoke"
        functions = sorted(self._registry.functions)
        shown = ", ".join(functions[:8]) + (", ..." if len(functions) > 8 else "")
        close = difflib.get_close_matches(str(name)[:LONGEST_NAME], functions[:SIMILAR_OF], n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ";"
        return f"it has no function {name!r}{meant} " + (f"it has {shown}" if functions else "it has none at all")

    def _join(self, known: Running, peer: Peer, record: Record) -> None:
        """The same id again: the same request is joined, its reply goes to the engine's newest connection."""
        if not known.has_body_of(record):
            self.received += 1
            self._refuse(peer, known.tag, Code.ID_REUSED, "its id is in use for another request that runs")
        elif known.ending is Ending.ENGINE:
            # Cancelled, and then issued again: it is told what became of it.
            known.ending = Ending.REISSUED

    def _refuse(self, peer: Peer, tag: bytes, code: int, text: str, detail: dict[str, Any] | None = None) -> None:
        self.refused += 1
        self._reply(peer, self._answers.error(peer, tag, code, Executed.NO, text, detail))

    # Running

    def _keep(self, running: Running) -> None:
        """A request that does not end at once."""
        running.kept = True
        running.engine.in_flight += 1
        self._running[running.engine, running.tag] = running
        self.deadlines.add(running.due)

    def _is_late(self, running: Running) -> bool:
        """Whether the request has been cancelled, or its deadline has come, before it was started."""
        if running.ending is None and running.due is not None and self._clock() >= running.due:
            running.ending = Ending.DEADLINE
        return running.ending is not None

    def _run_plain(self, running: Running) -> None:
        due = running.due
        if (running.ending is not None or (due is not None and due <= self._clock())) and self._is_late(running):
            self._answer_cancelled(running, running.ending)
            return
        running.started = True
        function = running.handler
        _, _, _, _, _, _, args, kwargs, _ = running.record
        began = time.perf_counter()  # not the event loop's clock: uvloop's stands still during a pass
        token = current.set(running)
        try:
            if kwargs or function.wants_context:
                result = function.call(running, args, kwargs)
            else:
                result = function.handler(*args)
            if type(result) is CoroutineType:  # a plain function around an async one
                self._spawn(running, result)
                return
        except asyncio.CancelledError:
            self._answer_cancelled(running, None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # an odd one must not take the rest of the burst along
            self._answer_raised(running, error)
        else:
            self._answer(running, result)
        finally:
            current.reset(token)
            held = time.perf_counter() - began
            if held > SLOW_HANDLER and function.name not in self._slow:
                self._slow.add(function.name)
                log.warning(
                    "handler %r held the event loop for %.0f ms: register it with thread=True, or make it async",
                    function.name or "on_invoke",
                    held * 1000,
                )

    def _spawn(self, running: Running, coroutine: Coroutine[Any, Any, Any] | None) -> None:
        if not running.kept:
            self._keep(running)
        token = current.set(running)
        try:
            if _EAGER:
                running.task = asyncio.Task(self._run(running, coroutine), loop=self._loop, eager_start=True)  # type: ignore[call-arg, unused-ignore]
            else:
                running.task = self._loop.create_task(self._run(running, coroutine))
                if not self._has_spawned:
                    self._has_spawned = True
                    self._behind_tasks += 1
                    self._loop.call_soon(self._tasks_begun)
        finally:
            current.reset(token)

    def _tasks_begun(self) -> None:
        self._behind_tasks -= 1

    async def _run(self, running: Running, coroutine: Coroutine[Any, Any, Any] | None) -> None:
        if self._is_late(running):
            if coroutine is not None:
                coroutine.close()
            self._answer_cancelled(running, running.ending)
            return
        _, _, _, _, _, _, args, kwargs, _ = running.record
        # A thread's job says itself when it starts.
        running.started = not running.handler.thread
        try:
            if coroutine is None:
                coroutine = running.handler.call(running, args, kwargs)
            result = await coroutine
        except asyncio.CancelledError:
            self._answer_cancelled(running, running.ending)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._answer_raised(running, error)
        else:
            self._answer(running, result)

    async def _in_thread(self, running: Running) -> Any:
        _, _, _, _, _, _, args, kwargs, _ = running.record
        surroundings = contextvars.copy_context()

        def job() -> Any:
            # It may have waited for a thread until nobody waits for it any more.
            if running.ended or (running.cancelled and running.handler.cancellable):
                raise asyncio.CancelledError
            if running.deadline is not None and running.deadline <= self._clock():
                running.ending = Ending.DEADLINE
                raise asyncio.CancelledError
            running.started = True
            return surroundings.run(running.handler.call, running, args, kwargs)

        return await self._threads.run(job)

    def _cancel(self, running: Running, ending: Ending, *, force: bool = False) -> None:
        """Nobody waits for this request any more."""
        if running.ending is not None or not (running.handler.cancellable or force):
            return
        running.ending = ending
        running.cancelled = True
        # A task that has not begun looks at ``ending`` when it does; a thread looks at its context.
        if running.started and running.task is not None and (force or not running.handler.thread):
            running.task.cancel()

    # Ending

    def _end(self, running: Running) -> bool:
        """Takes a request out; False: it has been answered before."""
        if running.ended:
            return False
        running.ended = True
        running.record = _ENDED
        running.task = None
        if running.kept:
            del self._running[running.engine, running.tag]
            running.engine.in_flight -= 1
            if not self._running and self._idle:
                idle, self._idle = self._idle, []
                for future in idle:
                    if not future.done():
                        future.set_result(None)
        return True

    def _answer(self, running: Running, result: Any) -> None:
        if not running.kept:
            running.record = _ENDED
        elif not self._end(running):
            return
        if running.ending is _ENGINE_ENDED:
            self.cancelled += 1
            return
        engine, tag = running.engine, running.tag
        try:
            item = self._answers.result(engine, tag, result)
        except (EncodeError, RemoteError) as error:
            self.failed += 1
            log.error("request %s: the result of %s cannot be sent: %s", running.request_id, running.what, error)
            item = self._answers.raised(engine, tag, error)
        else:
            self.replied += 1
        self._reply(engine, item)

    def _answer_raised(self, running: Running, error: BaseException) -> None:
        if not self._end(running):
            return
        item = self._answers.raised(running.engine, running.tag, error)
        if is_own_word(error, Refused):
            self.refused += 1
        else:
            self.failed += 1
            log.error("request %s: %s raised", running.request_id, running.what, exc_info=error)
        self._reply(running.engine, item)

    def _answer_cancelled(self, running: Running, ending: Ending | None) -> None:
        if not self._end(running):
            return
        self.cancelled += 1
        if ending is Ending.ENGINE:
            return
        executed = Executed.YES if running.started else Executed.NO
        if ending is Ending.DEADLINE:
            code, why = Code.EXPIRED, "its deadline has come"
        else:
            code, why = Code.CANCELLED, "the handler cancelled itself" if ending is None else ending.value
        self._reply(running.engine, self._answers.error(running.engine, running.tag, code, executed, why))
