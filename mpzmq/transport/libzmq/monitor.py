"""What libzmq tells of a socket's connections.

An undrained monitor freezes its whole context, so this one has no bound on its queue (a dialling socket makes a few
events per dial) and is read by the event loop like any other socket.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import zmq

from .socket import ZmqSocket

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ..interface import Frames

__all__ = ["DIALLING", "EVENT", "HANDSHAKE_FAILED", "Monitor", "watched"]

_numbers = itertools.count()
EVENT = struct.Struct("=Hi")
"""What a monitor says of an event: its number, and its value."""

HANDSHAKE_FAILED = int(
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

DIALLING = HANDSHAKE_FAILED | int(
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CONNECT_DELAYED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
)


def watched(context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], events: int) -> zmq.Socket[bytes]:
    """Begins to watch a socket: a PAIR socket from which its events can be read, and have to be."""
    address = f"inproc://mpzmq-monitor-{next(_numbers)}"
    socket.monitor(address, events)
    pair = context.socket(zmq.PAIR)
    pair.set(zmq.RCVHWM, 0)
    pair.set(zmq.LINGER, 0)
    pair.connect(address)
    return pair


class Monitor:
    """Reads the events of one socket.

    Args:
        context: the socket's context.
        socket: the socket; its first connect comes after this.
        events: which events.
        loop: the event loop.
        on_events: receives bursts of ``(event, value, endpoint)``.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        socket: zmq.Socket[bytes],
        events: int,
        loop: asyncio.AbstractEventLoop,
        on_events: Callable[[Sequence[tuple[int, int, str]]], None],
    ) -> None:
        self._watched = socket
        self._on_events = on_events
        self._pair = ZmqSocket(watched(context, socket, events), loop, self._on_messages, lambda: None)

    def close(self) -> None:
        """Ends the watch; before the watched socket is closed."""
        self._watched.disable_monitor()
        self._pair.close()

    def _on_messages(self, messages: Sequence[Frames]) -> None:
        self._on_events(
            [(*EVENT.unpack(bytes(frames[0])), bytes(frames[1]).decode(errors="replace")) for frames in messages]
        )
