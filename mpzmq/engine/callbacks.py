"""The functions of a worker, run for the containers that call them inside its requests."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from ..handlers.admission import Admission
from ..handlers.dispatcher import Dispatcher
from ..handlers.timers import Timers
from ..models import Executed, Status
from ..protocol import wire
from ..protocol.responder.nested_calls import NestedCallReceiver
from ..protocol.responder.reply_cache import Reply, ReplyBudget
from ..protocol.responder.session_state import SessionState

if TYPE_CHECKING:
    from uuid import UUID

    from ..config import Limits
    from ..handlers.registry import Registry
    from ..protocol.flow.outbox import QueuedRecord
    from ..protocol.wire.encoder import Encoder
    from ..protocol.wire.records import Record

__all__ = ["EngineFunctions"]


class EngineFunctions:
    """Runs what containers call; all links of a worker share one. What runs is made with the first call.

    Args:
        registry: the functions.
        limits: the worker's bounds.
        encoder: writes the records.
    """

    status = Status.RUNNING
    draining: str | None = None

    def __init__(self, registry: Registry, limits: Limits, encoder: Encoder) -> None:
        self.encoder = encoder
        self.writable: dict[Any, None] = {}
        self._registry = registry
        self._limits = limits
        self._room = ReplyBudget(limits)
        self.dispatcher: Dispatcher | None = None
        """Runs them; None: nothing was called yet."""
        self._timers: Timers | None = None
        self._context: contextvars.Context | None = None
        self._serving = False

    def nested_calls(self, name: str, remote_id: UUID, owner: Any) -> NestedCallReceiver:
        """What one link needs to take calls, and whoever carries its answers."""
        if self._context is None:
            # That of the worker's first connect(): which container calls first is chance.
            self._context = contextvars.copy_context()
        nested_calls = NestedCallReceiver(name, remote_id, self._limits, self.encoder, self._room)
        nested_calls.owner = owner
        return nested_calls

    def error_record(self, code: int, executed: Executed, text: str, detail: dict[str, object] | None = None) -> Record:
        """An ERROR record."""
        return wire.error(code, executed, self.status, text, detail)

    def serve(self, nested_calls: NestedCallReceiver) -> None:
        """Starts and ends what a container has asked; the answers that are there at once wait in its outbox."""
        loop = asyncio.get_running_loop()
        if self.dispatcher is None or self._timers is None:
            assert self._context is not None
            admission = Admission(self._registry, self, self._limits, {}, "container")
            given = admission, self, self._limits, self._reply, self._schedule_write, "mpzmq-worker"
            self.dispatcher = self._context.run(Dispatcher, *given)
            self._timers = Timers(self.dispatcher, loop, self._flush)
        batch, parents = nested_calls.take()
        for entry in parents:
            # Nothing is asked of the many requests inside which nothing is called.
            entry.waiter.add_done_callback(lambda _, tag=entry.tag: self._on_parent_ended(nested_calls, tag))
        serving, self._serving = self._serving, True
        try:
            self.dispatcher.start(batch, loop.time())
        finally:
            self._serving = serving
        self._timers.arm()

    def depart(self, nested_calls: NestedCallReceiver) -> None:
        """A link has ended: so has what runs for its container."""
        nested_calls.end()
        if self.dispatcher is not None:
            self.serve(nested_calls)

    async def close(self) -> None:
        """Ends what runs."""
        dispatcher, self.dispatcher = self.dispatcher, None
        self._context = None
        if self._timers is not None:
            self._timers.close()
        if dispatcher is not None:
            await dispatcher.close()

    def _on_parent_ended(self, nested_calls: NestedCallReceiver, parent: bytes) -> None:
        nested_calls.close(parent)
        if nested_calls.has_asked and self.dispatcher is not None:
            self.serve(nested_calls)

    def _reply(self, nested_calls: NestedCallReceiver, item: QueuedRecord) -> None:
        if nested_calls.state is SessionState.CLOSED or nested_calls.parent_of(item.tag) is None:
            return  # nobody waits
        if isinstance(item, Reply):
            nested_calls.replies.keep(item)
        if nested_calls.owner.link.welcomed:  # else it asks again
            nested_calls.outbox.put(item)
            if not self._serving:
                nested_calls.owner.schedule_write()

    def _schedule_write(self, nested_calls: NestedCallReceiver) -> None:
        """A stream has something to send: a worker has none."""

    def _flush(self) -> None:
        """What was noted for several containers leaves."""
        dirty, self.writable = self.writable, {}
        for nested_calls in dirty:
            nested_calls.owner.schedule_write()
