"""A connection that breaks while one of its messages is being read. Each case is a process: the fault ends it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.waiting import scaled

SCRIPT = """
import asyncio, socket, sys
import zmq
from mpzmq.testing import Proxy
from mpzmq.transport.interface import SocketSettings
from mpzmq.transport.libzmq.dealer import ZmqDealer

READ = int(sys.argv[1])


class Handler:
    raw = None
    read = 0

    def __init__(self):
        self.changes = []

    def on_messages(self, messages): ...
    def on_writable(self): ...
    def on_redial(self): return False
    def on_connection(self, changes):
        self.changes += changes
        if self.raw is not None:
            try:
                while True:
                    self.raw.recv(zmq.NOBLOCK)
                    self.read += 1
            except zmq.Again:
                pass


async def main():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set(zmq.LINGER, 0)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        async with Proxy(f"tcp://127.0.0.1:{port}") as proxy:
            settings = SocketSettings(
                redial_interval=5.0,
                connect_timeout=5.0,
                heartbeat_interval=60.0,
                down_after=60.0,
                message_bytes=1 << 20,
            )
            handler = Handler()
            dealer = ZmqDealer(context, asyncio.get_running_loop(), proxy.endpoint, settings, handler)
            while not handler.changes:
                await asyncio.sleep(0.01)
            raw = dealer._socket.raw
            asyncio.get_running_loop().remove_reader(raw.get(zmq.FD))  # here it is read frame by frame
            dealer.send([b"tags", b"records"])
            while not router.poll(0):
                await asyncio.sleep(0.01)
            route = router.recv_multipart()[0]
            for _ in range(150):
                router.send_multipart([route, b"tags", b"records"])
            while proxy.bytes_to("worker") < 150 * 15:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            raw.get(zmq.EVENTS)
            for _ in range(READ):
                raw.recv(zmq.NOBLOCK)
            handler.raw = raw
            await proxy.reset()
            while not handler.read:
                await asyncio.sleep(0.01)
            print(READ + handler.read)
            dealer.close(0.0)


asyncio.run(asyncio.wait_for(main(), 20))
"""


@pytest.mark.parametrize("read", [95, 97, 99])
def test_a_connection_that_breaks_between_two_frames_does_not_end_the_process(read: int) -> None:
    """With ``IMMEDIATE`` libzmq 4.3.5 fails an assertion, if it looks at its commands then: at each 100th frame."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(read)], capture_output=True, text=True, timeout=scaled(50), check=False
    )
    assert (result.returncode, result.stdout) == (0, "300\n"), result.stderr
