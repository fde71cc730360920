"""Strangers who knock at a lobby with wrong tokens: ``python -m tests.support.join_flood HOST PORT RATE SECONDS``.

Each JOIN comes on a connection of its own, over ZMTP by hand: a thousand sockets of libzmq a second cost too much.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
import uuid
from collections import deque

from mpzmq import Limits
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from tests.hostile.tcp import MORE, frame_header, greeting, ready
from tests.support.raw import LINK_TAG

GREETED, OPEN = 30, 60
"""How many connections wait for the end of their handshake, and how many are open, at the same time."""

TIMEOUT = 1.0
"""Seconds for one connection to say something."""


def join(encoder: Encoder) -> bytes:
    """A message with a token that is wrong."""
    record = encoder.pack(wire.join(uuid.uuid4(), 1, f"wrong {uuid.uuid4()}", "x", {}, Limits()))
    return bytes((MORE, len(LINK_TAG))) + LINK_TAG + frame_header(len(record)) + record


def wait_until_ready(one: socket.socket) -> None:
    """Returns when the handshake has ended.

    Raises:
        OSError: the lobby has ended the connection first, or says nothing.
    """
    said = b""
    while b"READY" not in said:
        more = one.recv(4096)
        if not more:
            raise ConnectionResetError
        said += more


def main(host: str, port: int, rate: float, seconds: float) -> None:
    """Knocks, and writes how often it has."""
    encoder = Encoder(Limits())
    greeted: deque[socket.socket] = deque()
    joined: deque[socket.socket] = deque()
    count, began = 0, time.monotonic()
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    while (passed := time.monotonic() - began) < seconds:
        if count >= passed * rate:
            time.sleep(0.001)
            continue
        with contextlib.suppress(OSError):
            greeted.append(socket.create_connection((host, port), timeout=TIMEOUT))
            greeted[-1].sendall(greeting() + ready())
        if len(greeted) > GREETED:
            joined.append(greeted.popleft())
            # libzmq reads nothing more of a connection where a message has come together with the greeting.
            with contextlib.suppress(OSError):
                wait_until_ready(joined[-1])
                joined[-1].sendall(join(encoder))
                count += 1
        if len(greeted) + len(joined) > OPEN:
            joined.popleft().close()
    for one in (*greeted, *joined):
        one.close()
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
