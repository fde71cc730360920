"""Engines that send as fast as they can and read nothing: they are cut, and others hardly notice."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import zmq

from mpzmq.config import Limits
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.records import LINK_TAG

from .liar import LyingEngine, liars, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .target import Target

MOST = 100_000
"""Messages after which nobody would cut the flood any more."""

_ENCODER = Encoder(Limits())

FLOODS: dict[str, tuple[bool, Callable[[], tuple[bytes, Any]]]] = {
    "requests without HELLO": (False, lambda: (uuid4().bytes, request(1, "x"))),
    "garbage without HELLO": (False, lambda: (uuid4().bytes, b"\xc1")),
    "PING": (True, lambda: (LINK_TAG, [Kind.PING, 1])),
    "garbage": (True, lambda: (uuid4().bytes, b"\xc1")),
    "requests": (True, lambda: (uuid4().bytes, request(1, "x"))),
    "an unknown kind": (True, lambda: (LINK_TAG, [99])),
    "megabytes": (True, lambda: (uuid4().bytes, request(1, b"x" * 900_000))),
}


@contextlib.contextmanager
def ended(liar: LyingEngine) -> Iterator[Callable[[], bool]]:
    """Watches whether the connection of a lying engine has ended."""
    with liar.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED) as events:
        yield lambda: bool(events.poll(0))
        liar.socket.disable_monitor()


@pytest.mark.parametrize("flood", FLOODS)
async def test_who_sends_more_than_the_window_is_cut(target: Target, flood: str) -> None:
    greets, say = FLOODS[flood]
    with liars(target) as make:
        liar = make()
        if greets:
            await liar.greet()
        with ended(liar) as is_over:
            async with target.watched():
                for count in range(MOST):
                    if count % 20 == 0 and is_over():
                        break
                    tag, record = say()
                    await liar.send(tag, record if isinstance(record, bytes) else _ENCODER.pack(record))
            assert is_over(), "nobody has stopped it"
    facts = await target.unharmed(grown=128)
    assert facts["in_flight"] == 0
    assert "a connection was cut: it sends more than it may" in target.process.stderr
