"""Handlers whose data or results come piece by piece."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Any

from ..common.chaining import alone
from ..common.logs import Log
from ..errors import ConnectionClosed, ConnectionLost, MessageTooLarge, RemoteError
from ..protocol.flow.outbox import CORKED_BYTES
from ..protocol.flow.send_stream import SendStream
from ..protocol.wire.kinds import GIVES, TAKES
from ..runtime.item_streams import ItemReader, ItemWriter, wake_all
from .invocation import CancelReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol.flow.receive_stream import ReceiveStream
    from ..protocol.responder.responder import Responder
    from ..protocol.wire.encoder import Encoder
    from .invocation import Invocation

__all__ = ["Streaming"]

log = Log(__name__)


class Streaming:
    """Runs the handlers of streams, uploads and channels.

    Args:
        encoder: writes the items.
        schedule_write: called when something may leave that could not before, with how much of it is new.
    """

    def __init__(self, encoder: Encoder, schedule_write: Callable[[int], None]) -> None:
        self._encoder = encoder
        self._schedule_write = schedule_write

    def call(self, running: Invocation) -> Any:
        """Calls the handler of a request.

        Returns:
            What is to be awaited for its result, or iterated.
        """
        _, _, _, _, op, _, args, kwargs, _ = running.record
        if op not in TAKES:
            return running.handler.call(running, args, kwargs, running.made)
        peer, tag = running.engine, running.tag
        receive_stream = peer.receive_streams[tag]
        arriving: Any = ItemReader(receive_stream, lambda: self._acknowledge(peer, tag, receive_stream))
        typed = running.handler.typed
        if typed is not None and typed.items is not None:
            arriving = typed.items.read(arriving)
        self._acknowledge(peer, tag, receive_stream)  # it may begin
        return running.handler.call(running, [arriving, *args], kwargs, running.made)

    async def run(self, running: Invocation) -> Any:
        """Calls the handler of a request, with what stands around it.

        Returns:
            What it returned; of one that yields, how many items that were, when the engine has them all.
        """
        op, chain = running.op, running.chain
        if op not in TAKES:
            return await self._give(running, self.call(running) if chain is None else await chain.items())
        receive_stream = running.engine.receive_streams[running.tag]
        try:
            if op in GIVES:
                result = self.call(running) if chain is None else await chain.items()
                return await self._give(running, result, receive_stream)
            return await (self.call(running) if chain is None else chain.result())
        except ConnectionLost as error:
            if receive_stream.failure is None or error.args != receive_stream.failure.args:
                raise
            # No fault of the handler, and the engine knows better than anybody.
            log.info("request %s: %s has ended: %s", running.request_id, running.what, error, about=running)
            running.cancel_reason = running.cancel_reason or CancelReason.ENGINE
            raise alone(asyncio.CancelledError()) from None

    def goes_on(self, running: Invocation) -> bool:
        """Whether a handler runs to its end though nobody waits for it any more. Of its data, if any, no more comes."""
        if running.handler.cancellable:
            return False
        if running.op in TAKES:
            peer = running.engine
            receive_stream = peer.receive_streams[running.tag]
            receive_stream.abort(ConnectionClosed, f"engine {peer.name!r} does not wait for it any more")
            wake_all([receive_stream.waker])
        return True

    def _acknowledge(self, peer: Responder, tag: bytes, receive_stream: ReceiveStream) -> None:
        if receive_stream.failure is None:
            peer.control(receive_stream.credit_record(), tag)
            self._schedule_write(_waiting(peer))

    async def _give(self, running: Invocation, generator: Any, receive_stream: ReceiveStream | None = None) -> int:
        peer, tag = running.engine, running.tag
        flow = SendStream(*peer.send_streams.credit_at_first)

        def schedule_write() -> None:
            peer.mark_ready(tag)
            self._schedule_write(_waiting(peer))

        peer.send_streams.open(tag, flow)
        leaving = ItemWriter(flow, self._encoder, peer.message_bytes, schedule_write)
        put = leaving.put
        if receive_stream is not None:

            def put(item: Any) -> bool:
                receive_stream.on_answered()
                if receive_stream.is_handled_news:
                    self._acknowledge(peer, tag, receive_stream)
                return leaving.put(item)

        try:
            try:
                # A decorator may give an iterator of its own in the generator's place.
                async with aclosing(generator) if hasattr(generator, "aclose") else nullcontext():
                    if not flow.has_room:
                        await leaving.drain()
                    async for item in generator:
                        if not put(item) or running.cancel_reason is not None:
                            _unless_left(running)
                            await leaving.drain()
            except (Exception, SystemExit) as error:
                # It is told behind the items that came before it.
                if running.cancel_reason is None:
                    leaving.write_eof()
                    await leaving.wait_acknowledged()
                if issubclass(type(error), MessageTooLarge):
                    raise alone(RemoteError(str(error), error_type="MessageTooLarge")) from None
                raise
            _unless_left(running)
            leaving.write_eof()
            await leaving.wait_acknowledged()
        finally:
            peer.send_streams.close(tag)
        return flow.sent


def _waiting(peer: Responder) -> int:
    """Bytes of items that are new: streams keep much more, which waits for credit."""
    return CORKED_BYTES if peer.send_streams.budget.has_grown else 0


def _unless_left(running: Invocation) -> None:
    """Ends a handler that has swallowed its cancellation, before it waits for an engine that reads no more."""
    if running.cancel_reason is not None:
        raise asyncio.CancelledError
