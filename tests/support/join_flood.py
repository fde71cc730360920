"""Strangers who knock at a lobby with wrong tokens: ``python -m tests.support.join_flood HOST PORT RATE SECONDS``.

Each JOIN comes on a connection of its own, over ZMTP by hand: a thousand sockets of libzmq a second cost too much.
"""

from __future__ import annotations

import contextlib
import select
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

OPEN = 100
"""Connections at the same time."""


def words(encoder: Encoder) -> bytes:
    """All that one of them says."""
    join = encoder.pack(wire.join(uuid.uuid4(), 1, f"wrong {uuid.uuid4()}", "x", {}, Limits()))
    tag = bytes((MORE, len(LINK_TAG))) + LINK_TAG
    return greeting() + ready() + tag + frame_header(len(join)) + join


def main(host: str, port: int, rate: float, seconds: float) -> None:
    """Knocks, and writes how often it has."""
    encoder = Encoder(Limits())
    opened: deque[socket.socket] = deque()
    count, began = 0, time.monotonic()
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    while (passed := time.monotonic() - began) < seconds:
        if count >= passed * rate:
            time.sleep(0.001)
            continue
        with contextlib.suppress(OSError):
            opened.append(socket.create_connection((host, port)))
            opened[-1].sendall(words(encoder))
            count += 1
        if len(opened) > OPEN:
            with contextlib.suppress(OSError), opened.popleft() as oldest:
                # What is closed with something unread is reset, and a reset overtakes what was sent.
                while select.select([oldest], [], [], 0)[0] and oldest.recv(4096):
                    pass
    for one in opened:
        one.close()
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
