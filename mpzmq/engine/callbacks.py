"""The functions of a worker, run for the containers that call them inside its requests."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from ..handlers.admission import Admission
from ..handlers.dispatcher import Dispatcher
from ..handlers.timers import Timers
from ..protocol.responder.nested_calls import NestedCallReceiver
from ..protocol.responder.reply_cache import ReplyBudget
from ..protocol.responder.responder import HandlerHost

if TYPE_CHECKING:
    from uuid import UUID

    from ..config import Limits
    from ..handlers.registry import Registry
    from ..protocol.wire.encoder import Encoder

__all__ = ["EngineFunctions"]


class EngineFunctions:
    """Runs what containers call; all links of a worker share one. What runs is made with the first call.

    Args:
        registry: the functions.
        limits: the worker's bounds.
        encoder: writes the records.
    """

    def __init__(self, registry: Registry, limits: Limits, encoder: Encoder) -> None:
        self._host = HandlerHost(encoder)
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
        self._registry.resolve_types()
        if self._context is None:
            # That of the worker's first connect(): which container calls first is chance.
            self._context = contextvars.copy_context()
        nested_calls = NestedCallReceiver(name, remote_id, self._host, self._limits, self._room)
        nested_calls.owner = owner
        return nested_calls

    def serve(self, nested_calls: NestedCallReceiver) -> None:
        """Starts and ends what a container has asked; the answers that are there at once wait in its outbox."""
        if not nested_calls.has_asked:
            return
        loop = asyncio.get_running_loop()
        if self.dispatcher is None or self._timers is None:
            assert self._context is not None
            admission = Admission(self._registry, self._host, self._limits, {}, "container")
            given = admission, self._host, self._limits, self._schedule_write, "mpzmq-worker"
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
            self._host.writable.pop(nested_calls, None)  # whoever serves it sends
        self._timers.arm()

    def depart(self, nested_calls: NestedCallReceiver) -> None:
        """A link has ended: so has what runs for its container."""
        nested_calls.end()
        if self.dispatcher is None:
            nested_calls.take()  # nothing runs for it
        else:
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
        if self.dispatcher is not None:
            self.serve(nested_calls)

    def _schedule_write(self, waiting: int) -> None:
        """An answer may leave."""
        if not self._serving:
            self._flush()

    def _flush(self) -> None:
        """What was noted for several containers leaves."""
        writable = self._host.writable
        while writable:
            nested_calls, _ = writable.popitem()
            nested_calls.owner.schedule_write()
