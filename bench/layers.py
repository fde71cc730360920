"""Where the time of one small request goes: the shipped functions of each layer, timed alone in one process.

Batches of 256, as under load; no sockets. What is missing up to the CPU seconds that ``compare`` sees are the sockets,
the event loop's own work, the garbage collector, and caches that are colder with a thousand requests under way.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any
from uuid import uuid4

from mpzmq.config import Limits
from mpzmq.handlers.admission import Admission
from mpzmq.handlers.dispatcher import Dispatcher
from mpzmq.handlers.registry import Function, Registry
from mpzmq.protocol.effect_queue import EffectQueue
from mpzmq.protocol.effects import ResolveRequests
from mpzmq.protocol.requester.error_factory import RequestErrors
from mpzmq.protocol.requester.request import PendingRequest, encode_request, remaining_ms
from mpzmq.protocol.requester.request_ids import EndedIds, request_tags
from mpzmq.protocol.requester.tracker import RequestTracker
from mpzmq.protocol.responder.batch import RequestBatch
from mpzmq.protocol.session.table import SessionTable
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind, Op
from mpzmq.protocol.wire.messages import Message, MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG, hello
from mpzmq.runtime.waiters import resolve_all

__all__ = ["BATCH", "layers", "seconds_of"]

BATCH = 256
NOW, DEADLINE = 100.0, 130.0


class Container:
    """The container's half without sockets, with one engine that has greeted it; to be made in a running loop."""

    def __init__(self, registry: Registry, encoder: Encoder, limits: Limits) -> None:
        self._sessions = SessionTable(uuid4(), "container", 2.0, limits)
        greeting = [LINK_TAG, encoder.pack(hello(uuid4(), 1, "engine", 2.0, limits))]
        self.batch_of(MessageDecoder(limits, answered=Kind.REQUEST).decode(greeting))
        (self.peer,) = self._sessions.all()
        self.peer.outbox.clear_control()  # WELCOME
        admission = Admission(registry, self._sessions, limits, {})
        self.dispatcher = Dispatcher(admission, self._sessions, limits, lambda waiting: None, "container")

    def batch_of(self, message: Message) -> RequestBatch:
        """What a message asks for."""
        batch = RequestBatch()
        self._sessions.receive(b"route", message, batch, NOW)
        return batch


async def seconds_of(registry: Registry, args: tuple[Any, ...]) -> float:
    """How long the calls of a batch take in a container, from where they are admitted to where they are answered.

    Args:
        registry: has the function, under the name ``f``.
        args: what each call gives it.
    """
    limits, tags = Limits(), request_tags()
    encoder, decoder = Encoder(limits), MessageDecoder(limits, answered=Kind.REQUEST)
    container = Container(registry, encoder, limits)
    remaining = remaining_ms(DEADLINE, NOW)
    bodies = [encode_request(encoder, n, remaining, 0, Op.CALL, "f", args, None, None) for n in range(1, BATCH + 1)]
    frames = [b"".join(tags(n) for n in range(1, BATCH + 1)), b"".join(bodies)]
    batch = container.batch_of(decoder.decode(frames))
    began = time.perf_counter()
    container.dispatcher.start(batch, asyncio.get_running_loop().time())
    await container.dispatcher.idle()
    seconds = time.perf_counter() - began
    assert container.dispatcher.counters.ended == BATCH
    await container.dispatcher.close()
    return seconds


def layers(loop: str, rounds: int) -> dict[str, float]:
    """Microseconds a request in each layer: medians over a batch in each round."""
    from .peers.base import loop_factory

    seen: dict[str, list[float]] = {}
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        for _ in range(rounds):
            for layer, seconds in runner.run(_one_round()).items():
                seen.setdefault(layer, []).append(seconds / BATCH * 1e6)
    return {layer: statistics.median(times) for layer, times in seen.items()}


async def _one_round() -> dict[str, float]:
    times: dict[str, float] = {}
    began = time.perf_counter()

    def lap(layer: str) -> None:
        nonlocal began
        now = time.perf_counter()
        times[layer] = now - began
        began = time.perf_counter()

    limits = Limits()
    encoder = Encoder(limits)
    payload = bytes(64)
    effects = EffectQueue()
    errors = RequestErrors(uuid4(), "container", "tcp://127.0.0.1:1")
    tracker = RequestTracker(errors, limits, EndedIds(), effects)
    to_container = MessageDecoder(limits, answered=Kind.REQUEST)
    to_engine = MessageDecoder(limits, answered=Kind.RESPONSE)
    tags = request_tags()
    loop = asyncio.get_running_loop()

    registry = Registry()
    registry.invoke = Function(None, lambda data: data, thread=False, cancellable=True)
    container = Container(registry, encoder, limits)

    lap("")
    entries = []
    for _ in range(BATCH):
        data = encoder.prepare(payload, "data", [])
        sequence = tracker.next_sequence()
        body = encode_request(encoder, sequence, remaining_ms(DEADLINE, NOW), 0, Op.INVOKE, None, (data,), None, None)
        entry = PendingRequest(tags(sequence), sequence, Op.INVOKE, None, body, (), NOW, DEADLINE, True, False, None)
        entries.append(entry)
    lap("engine: encode the request")
    for entry in entries:
        entry.waiter = loop.create_future()
        tracker.issued += 1
        tracker.submit(entry)
    outgoing = tracker.outbox.next_message(NOW)
    lap("engine: register and batch it")
    assert outgoing is not None
    for entry in entries:
        entry.sent = True
    began = time.perf_counter()
    message = to_container.decode(outgoing.frames)
    lap("container: decode and check it")
    batch = container.batch_of(message)
    lap("container: find its session")
    container.dispatcher.start(batch, loop.time())
    lap("container: admit it, call the handler, encode the reply")
    answer = container.peer.outbox.next_message(NOW)
    lap("container: cut its message")
    assert answer is not None
    message = to_engine.decode(answer.frames)
    lap("engine: decode and check the reply")
    for tag, reply in message.records:
        tracker.on_response(tag, reply)
    lap("engine: correlate it")

    async def caller(future: asyncio.Future[Any]) -> Any:
        return await future

    tasks = [asyncio.create_task(caller(entry.waiter)) for entry in entries]
    await asyncio.sleep(0)
    began = time.perf_counter()
    ended = effects.popleft()
    assert isinstance(ended, ResolveRequests) and not effects
    resolve_all(ended.items)
    await asyncio.gather(*tasks)
    lap("engine: wake the caller")
    await container.dispatcher.close()
    del times[""]
    return times
