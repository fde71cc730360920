"""Requests to handlers: what may run, is started in order, and ended when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from ..common.logs import Log, RequestFacts
from ..common.text import text_of
from ..context import current
from ..models import Executed
from ..protocol.requester.pending import DeadlineSweep
from ..protocol.responder.reply_cache import Reply
from ..protocol.responder.session_state import SessionState
from ..protocol.wire.kinds import GIVES, Code, Flag, Op
from ..runtime.tracebacks import let_go_of_frames
from .admission import Rejection
from .concurrency import Limiters
from .coroutines import run_handler
from .deduplication import Deduplicator
from .error_mapping import mapped_error
from .invocation import CancelReason, Invocation, send_started_notices
from .isolation import context_factory
from .request_chain import RequestChain, Runners
from .request_counters import CANCELLED, FAILED, REFUSED, REPLIED, RequestCounters
from .responses import ResponseEncoder
from .slow_handlers import SLOW_HANDLER
from .state_changes import BEHIND, DeferredTicket
from .stream_invocation import Streaming
from .tasks import Tasks
from .threads import HandlerThreads

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Sequence

    from ..config import Limits
    from ..protocol.flow.outbox import QueuedRecord
    from ..protocol.responder.batch import Request, RequestBatch
    from ..protocol.responder.responder import HandlerHost, Responder
    from ..protocol.wire.records import Record
    from .admission import Admission
    from .concurrency import Ticket
    from .orphans import Orphans

__all__ = ["Dispatcher"]

log = Log(__name__)

CLOSE_TIMEOUT = 1.0
"""Seconds that cancelled handlers have to end in when the server closes."""

_ENGINE_ENDED: Final = CancelReason.ENGINE
_AWAY: Final = CancelReason.AWAY
_CHOSEN: Final = Flag.CHOSEN
_CLOSED: Final = SessionState.CLOSED
_SETSTATE: Final = Op.SETSTATE
_perf_counter: Final = time.perf_counter
"""Names of the module: looking a member up in its enum takes 0.1 us (Python 3.11), and every request asks."""

_REUSED = Rejection(Code.ID_REUSED, "its id is that of another request")


class Dispatcher:
    """Runs the requests of one container, or the calls to one worker.

    Args:
        admission: what may run.
        sessions: whose handlers they are.
        limits: bounds.
        schedule_write: told that something may leave, and how many bytes wait beside it.
        name: of the container or worker, for threads.
    """

    def __init__(
        self,
        admission: Admission,
        sessions: HandlerHost,
        limits: Limits,
        schedule_write: Callable[[int], None],
        name: str,
    ) -> None:
        self.state: Any = None
        """The value of the server's lifespan."""
        self.deadlines = DeadlineSweep()
        self._sessions = sessions
        self._admission = admission
        self._responses = ResponseEncoder(sessions)
        self.deduplicator = Deduplicator(self._responses, sessions)
        self._limiters = Limiters(limits.threads)
        self._schedule_write = schedule_write
        threads = HandlerThreads(limits.threads, name, self.deadlines, self._let_pass)
        self._runners = Runners(Streaming(sessions.encoder, schedule_write), threads, self._expire_at)
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._new_context = context_factory()
        self._tasks = Tasks(self._loop)
        self._running: dict[tuple[Responder, bytes], Invocation] = {}
        self.counters = RequestCounters(admission, self._running)
        self._emptied = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many handlers have not ended."""
        return self.counters.received - self.counters.ended

    def load(self) -> tuple[int, int]:
        """How many requests are at work, and how many wait for their turn."""
        return len(self._running) - (queued := self._limiters.waiting), queued

    def is_running(self, peer: Responder, tag: bytes) -> bool:
        """Whether a request has begun, or waits to, and has not ended."""
        return (peer, tag) in self._running

    def start(self, batch: RequestBatch, now: float) -> None:
        """Starts what one burst of messages asks for, in order; a CANCEL in it stops its request before it starts."""
        for peer, tag, unstarted in batch.cancels:
            running = self._running.get((peer, tag))
            if running is not None:
                self._cancel(running, CancelReason.ENGINE)
            elif unstarted and tag not in peer.replies.entries and tag not in peer.replies.tombstones:
                self.counters.received += 1
                self.counters.on_rejected(peer, tag, unstarted, CANCELLED)
        if batch.closed_sessions:
            for running in [running for key, running in self._running.items() if key[0] in batch.closed_sessions]:
                self._cancel(running, CancelReason.ENGINE)
                if running.handler.orphan_after is not None:
                    self._runners.threads.give_up_after(running, running.handler.orphan_after)
        self._tasks.on_burst()
        self.counters.read_at = _perf_counter()
        started = 0
        for before, peer, low_water, tags in batch.acks:
            self._start_all(batch.requests[started:before], now)
            peer.replies.acknowledge(low_water, tags)
            started = before
        self._start_all(batch.requests[started:] if started else batch.requests, now)
        self._tasks.on_burst_end()

    def _start_all(self, requests: Sequence[Request | None], now: float) -> None:
        for request in requests:
            if request is not None:
                try:
                    self._admit(request, now)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # of this one: it is not to take along those that were read with it
                    self._failed_over(request, error)

    def expire(self, now: float) -> None:
        """Ends the handlers whose deadline has come."""
        if self.deadlines.sweep(now, lambda: (running.due for running in self._running.values())):
            for running in list(self._running.values()):
                if running.due is None or running.due > now:
                    continue
                running.due = None
                if running.cancel_reason is None:
                    self._cancel(running, CancelReason.DEADLINE)
                else:
                    self._runners.threads.give_up(running)

    def _expire_at(self, deadline: float) -> None:
        """A request has been given an earlier deadline."""
        self.deadlines.add(deadline)
        # Not in its context, which the event loop would hold until then.
        self._loop.call_at(deadline, lambda: self.expire(max(deadline, self._clock())), context=Context())

    def end_orphans(self, orphans: Orphans, now: float) -> None:
        """Ends the handlers whose engines have been away for too long."""
        if not orphans.deadlines.sweep(now, lambda: map(orphans.due, self._running.values())):
            return
        for running in list(self._running.values()):
            due = orphans.due(running)
            if due is not None and due <= now:
                self._cancel(running, CancelReason.AWAY)
                self._runners.threads.give_up_after(running, 0.0)

    async def idle(self) -> None:
        """Waits until no handler runs."""
        while self._running:
            self._emptied.clear()
            await self._emptied.wait()

    async def close(self) -> None:
        """Cancels what runs, and waits for it as far as it can be cancelled."""
        self._admission.is_closing = True
        for running in list(self._running.values()):
            self._cancel(running, CancelReason.SERVER)
        tasks = [running.task for running in self._running.values() if running.task is not None]
        tasks += self._runners.closing
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        self._tasks.abandon(tasks)
        for running in list(self._running.values()):
            running.cancel_reason = running.cancel_reason or CancelReason.SERVER
            if running.started or not running.claim():
                log.warning("%r did not end when it was cancelled, and is abandoned", running, about=running)
            else:
                running.started = False  # it has not begun, and will not
            self.answer_cancelled(running, CancelReason.SERVER)
        self._runners.threads.close()

    # Admission

    def _admit(self, request: Request, now: float) -> None:
        peer, tag, record, size = request
        replies = peer.replies
        known: Invocation | Reply | None = self._running.get((peer, tag)) if peer.in_flight else None
        if known is None:
            known = replies.entries.get(tag)
            if known is None and replies.tombstones:
                known = replies.tombstones.get(tag)
        if known is not None or record[1] < replies.stale_below:
            self._on_duplicate(peer, tag, record, known)
            return
        self.counters.received += 1
        if peer.state is _CLOSED:
            self.counters.on_rejected(peer, tag, record, CANCELLED)  # its GOODBYE stood behind
            return
        asked = self.deduplicator.fingerprint(record) if record[3] & _CHOSEN else None  # as it came, not as converted
        function = self._admission.check(peer, record, size)
        if isinstance(function, Rejection):
            self._refuse(peer, tag, record, function)
            return
        remaining = record[2]
        deadline = None if remaining is None else now + remaining / 1000
        running = Invocation(peer, tag, record, size, asked, function, deadline, self.state, self._clock)
        running.read_at = self.counters.read_at
        if function.is_plain and not self._tasks.beginning:
            self._run_plain(running)
            return
        if function is BEHIND:
            running.ticket = self._admission.changes.ticket_for(running)
            self._track(running)
            self._start(running)
        else:
            self._take(running)

    def _take(self, running: Invocation) -> None:
        """A request that may run: at once, or when its turn has come."""
        if running.op == _SETSTATE:
            self._admission.changes.begin(running)
        if running.handler.is_gated:
            running.ticket = self._limiters.ticket_for(running, running.handler)
            self._track(running)
        self._start(running)

    def _judge_those_behind(self, peer: Responder) -> None:
        """A change of state has ended: what the same engine has asked behind it is judged, up to the next one."""
        while (ticket := self._admission.changes.next(peer)) is not None:
            running = ticket.running
            try:
                self._judge_again(running, is_current=ticket.connection == peer.number)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self.answer_raised(running, error)

    def _judge_again(self, running: Invocation, *, is_current: bool) -> None:
        record = running.record
        function = self._admission.check(running.engine, record, running.size, has_waited=True)
        if isinstance(function, Rejection):
            self._end(running)
            self.counters.read_at = running.read_at  # it has waited since then
            if is_current:
                self._refuse(running.engine, running.tag, record, function)
            else:
                # It is asked again, and judged again: this refusal would overtake that.
                self.counters.on_rejected(running.engine, running.tag, record, REFUSED)
        else:
            running.assign(function)
            self._take(running)

    def _change_ended(self, running: Invocation) -> None:
        if self._admission.changes.end(running):
            # Not at once: whoever ends it may be in the middle of what it does for this or another request.
            self._loop.call_soon(self._judge_those_behind, running.engine)

    def _on_duplicate(self, peer: Responder, tag: bytes, record: Record, known: Invocation | Reply | None) -> None:
        """A request that is running, or was answered, comes again."""
        if known is not None and not self.deduplicator.is_same(known, record):
            self.counters.received += 1
            self._refuse(peer, tag, record, _REUSED)
        elif isinstance(known, Invocation):
            if isinstance(known.ticket, DeferredTicket):
                known.ticket.connection = peer.number
            self.deduplicator.join(known)
        elif (item := self.deduplicator.replay(peer, tag, known)) is not None:
            self._reply(peer, item)

    def _start(self, running: Invocation) -> None:
        """Starts a request, now or when its turn has come."""
        try:
            self._begin(running)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.answer_raised(running, error)

    def _begin(self, running: Invocation) -> None:
        if running.ticket is not None and not running.ticket.try_advance(wanted=running.cancel_reason is None):
            return  # when its turn has come, it comes again
        function = running.handler
        if function.is_wrapped:
            context = self._new_context()
            running.chain = RequestChain(running, self._runners, context)
            self._spawn(running, None, context)
        elif function.is_async or function.thread:
            job = self._runners.threads.call(running) if function.thread else None
            self._spawn(running, job, self._new_context())
        elif self._tasks.beginning:
            # What was read before in this pass has not begun; this one was issued after it.
            self._track(running)
            self._tasks.call_behind(self._run_plain, running)
        else:
            self._run_plain(running)

    def _failed_over(self, request: Request, error: BaseException) -> None:
        """This side itself has failed over a request: its caller is told, and the counters stay right."""
        peer, tag, record, _ = request
        running = self._running.get((peer, tag))
        if running is not None:
            self.answer_raised(running, error)
            return
        about = RequestFacts.of(tag, record[5], peer.name)
        log.error("request %s: the container failed over it", about.request_id, exc_info=error, about=about)
        if self.in_flight > len(self._running):  # else it has been answered
            self.counters.on_rejected(peer, tag, record, FAILED)
            item = self._responses.failed(peer, tag, error)
            self._reply(peer, Reply(tag, item.body, (), record[1], None))

    def _refuse(self, peer: Responder, tag: bytes, record: Record, refusal: Rejection) -> None:
        self.counters.on_rejected(peer, tag, record, REFUSED)
        code, text, detail = refusal
        self._reply(peer, self._responses.error(peer, tag, code, Executed.NO, text, detail))

    # Running

    def _track(self, running: Invocation) -> None:
        """A request that does not end at once."""
        if running.tracked:
            return
        running.tracked = True
        self._admission.acquire(running)
        self._running[running.engine, running.tag] = running
        self.deadlines.add(running.due)

    def _run_plain(self, running: Invocation) -> None:
        if (running.cancel_reason is not None or running.due is not None) and running.is_late():
            self.answer_cancelled(running, running.cancel_reason)
            return
        running.started = True
        self._new_context().run(self._call, running)

    def _call(self, running: Invocation) -> None:
        """Calls a plain handler, in the context of its request."""
        current.set(running)
        function = running.handler
        _, _, _, _, _, _, args, kwargs, _ = running.record
        began = running.began = _perf_counter()  # not the event loop's clock: uvloop's stands still during a pass
        try:
            given = kwargs or function.injected
            result = function.call(running, args, kwargs) if given else function.handler(*args)
            if type(result) is CoroutineType:  # a plain function around an async one
                self._spawn(running, result, None)
                return
        except asyncio.CancelledError as error:
            self.answer_cancelled(running, None)
            let_go_of_frames(error)
        except KeyboardInterrupt:
            self.answer_cancelled(running, CancelReason.INTERRUPTED)
            raise
        except BaseException as error:  # sys.exit(), too: it must not end what others wait for
            told = mapped_error(running, error)
            self.answer_raised(running, told)
            let_go_of_frames(told)
            let_go_of_frames(error)
            del told  # which may be the error, whose traceback keeps this frame
        else:
            self.answer(running, result)
        finally:
            held = _perf_counter() - began
            if held > SLOW_HANDLER:
                self._runners.slow.held(running, held)

    def _spawn(
        self, running: Invocation, coroutine: Coroutine[Any, Any, Any] | None, context: contextvars.Context | None
    ) -> None:
        self._track(running)
        running.task = self._tasks.start(
            run_handler(running, coroutine, self, self._runners.streaming), coroutine, context
        )

    def _reply(self, peer: Responder, item: QueuedRecord) -> None:
        if waiting := peer.reply(item):
            self._schedule_write(waiting)

    def send_started_notices(self) -> bool:
        """Tells engines which requests are at work, and were the last time, too; True: there are others."""
        return send_started_notices(self._running.values(), self._sessions.writable)

    def end_unread(self, streams: Sequence[tuple[Responder, bytes]]) -> None:
        """Ends the handlers of streams that nobody reads."""
        for key in self._running.keys() & streams:  # others did not end when they were cancelled
            self._cancel(self._running[key], CancelReason.UNREAD)  # which is kept as its answer: it must not run again

    def _cancel(self, running: Invocation, ending: CancelReason) -> None:
        """Nobody waits for this request any more."""
        if (calls := running.engine.calls) is not None:
            calls.on_parent_ended(running.engine, running.tag)
        if running.ticket is not None and running.ticket.is_waiting:
            self.answer_cancelled(running, ending)
            return
        force = ending is CancelReason.SERVER
        if running.cancel_reason is not None or (
            running.started and not force and self._runners.streaming.goes_on(running)
        ):
            return
        running.cancel_reason = ending
        running.due = None
        if running.op == _SETSTATE:
            self._change_ended(running)  # whether or not its handler heeds that
        if ending is _ENGINE_ENDED and running.op in GIVES:
            running.engine.send_streams.close(running.tag)  # now, whatever its handler does before it ends
        # A task that has not begun looks at ``ending`` when it does; a thread looks at its context.
        if running.task is not None and running.may_interrupt(force=force):
            self._tasks.cancel(running)

    # Ending

    def _end(self, running: Invocation) -> bool:
        """Takes a request out; False: it has been answered before."""
        if running.ended:
            return False
        running.ended = True
        running.release()
        running.task = None
        if running.op == _SETSTATE:
            self._change_ended(running)
        if running.engine.caller is not None and (calls := running.engine.calls) is not None:
            calls.on_parent_ended(running.engine, running.tag)
        if running.tracked:
            del self._running[running.engine, running.tag]
            self._admission.release(running)
            if running.ticket is not None:
                self._let_pass(running.ticket)
            if not self._running:
                self._emptied.set()
        return True

    def _let_pass(self, ticket: Ticket) -> None:
        for following in ticket.leave():
            # Not at once: plain handlers would start one another, each in the frame of the one before.
            self._loop.call_soon(self._start, following)

    def answer(self, running: Invocation, result: Any) -> None:
        if running.cancel_reason is _AWAY:
            self.answer_cancelled(running, _AWAY)  # it was to stop where it stood: that is not a result
            return
        if not running.tracked:
            running.release()
        elif not self._end(running):
            return
        if running.cancel_reason is _ENGINE_ENDED:
            self.counters.on_ended(running, CANCELLED)
            self.deduplicator.on_cancelled(running)
            return
        try:
            reply = self._responses.result(running, result)
        except Exception as error:  # a message cannot carry it
            self._tell_failure(running, error)
            text = "request %s: the result of %s cannot be sent: %s"
            log.error(text, running.request_id, running.what, text_of(error), about=running)
        else:
            self.counters.on_ended(running, REPLIED)
            if waiting := running.engine.reply(reply):
                self._schedule_write(waiting)

    def answer_raised(self, running: Invocation, error: BaseException) -> None:
        if self._end(running) and not self._tell_failure(running, error):
            log.error("request %s: %s raised", running.request_id, running.what, exc_info=error, about=running)

    def _tell_failure(self, running: Invocation, error: BaseException) -> bool:
        """Answers a request that has ended with an error; True: with its handler's refusal."""
        item, is_refusal = self._responses.raised(running, error)
        self.counters.on_ended(running, REFUSED if is_refusal else FAILED)
        self._reply(running.engine, self.deduplicator.as_reply(running, item))
        return is_refusal

    def answer_cancelled(self, running: Invocation, ending: CancelReason | None) -> None:
        if not self._end(running):
            return
        self.counters.on_ended(running, CANCELLED)
        if ending is CancelReason.ENGINE:
            self.deduplicator.on_cancelled(running)
            return
        item = self._responses.cancelled(running, ending)
        self._reply(running.engine, self.deduplicator.as_reply(running, item) if running.started else item)
