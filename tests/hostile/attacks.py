"""The raw attacks, for the tests and for the long run alike. Each returns when it is over; none takes for ever."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import zmq

from .tcp import affordable, crowd, frame_header, greeting, ready, stranger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["ATTACKS", "endless_frames"]

Address = tuple[str, int]

HUGE = (1 << 63, 64 << 30, 2 << 30)
"""Sizes that a frame header may claim; libzmq has to ask for none of it."""


async def garbage(address: Address, seed: int = 0, count: int = 30) -> None:
    """What is no greeting, what begins as one, and what follows a good one."""
    dice = random.Random(seed)
    hello = greeting() + ready()
    said = [
        b"", b"\0", b"\xff", b"\xff" * 64, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n", bytes(4096),
        greeting(b"CURVE") + bytes(200), greeting(b"PLAIN") + ready(), greeting(b"\xff" * 20), greeting() + bytes(300),
        greeting() + b"\x04\xff" + b"\x05READY" + bytes(300), greeting() + b"\x06" + b"\xff" * 8, hello + b"\xf0" * 100,
        hello + b"\x04\x05\x04PING", hello + b"\x04\x00", hello + b"\x00\x00",
    ]  # fmt: skip
    for _ in range(count):
        damaged = bytearray(hello + b"\x01\x10" + bytes(16) + b"\x00\x03\x92\x07\x01")
        for _ in range(dice.randrange(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        said += [bytes(damaged), dice.randbytes(dice.randrange(200))]
    for data in said:
        async with stranger(address) as one:
            await one.say(data)


async def slow_loris(address: Address, count: int = 100, rounds: int = 5, pause: float = 0.05) -> None:
    """Connections that send their greeting byte by byte, and never get to its end."""
    async with crowd(address, affordable(count)) as all_of_them:
        for number in range(rounds):
            await asyncio.gather(*(one.say(greeting()[number : number + 1]) for one in all_of_them))
            await asyncio.sleep(pause)  # the attack itself


async def huge_headers(address: Address, before_handshake: bool = True) -> None:
    """Frames that say they are larger than any memory: in place of READY, and behind it."""
    for size in HUGE:
        async with stranger(address) as one:
            await one.handshake()
            await one.say(frame_header(size) + bytes(100_000))
            await one.until_closed()
        if before_handshake:
            async with stranger(address) as one:
                await one.say(greeting() + bytes((6,)) + frame_header(size)[1:] + bytes(100_000))
                await one.until_closed()


async def endless_frames(address: Address, frames: int = 200_000) -> None:
    """One message of frames of one byte that has no end: libzmq holds them all until it comes, whatever the limits."""
    async with stranger(address) as one:
        await one.handshake()
        for _ in range(frames // 1000):
            if not await one.say(b"\x01\x01x" * 1000):
                return


async def many_connections(address: Address, count: int = 1000) -> None:
    """Connections that are open at once and say nothing, or no more than a greeting."""
    async with crowd(address, affordable(count)) as all_of_them:
        await asyncio.gather(*(one.say(greeting()) for one in all_of_them[::2]))


async def rushes(address: Address, count: int = 1000) -> None:
    """Connections that come and go at once."""
    for _ in range(0, count, 100):
        async with crowd(address, affordable(100)):
            pass


async def wrong_sockets(address: Address) -> None:
    """Every socket type, and some that do not exist, by hand; the same with libzmq's own sockets."""
    for kind in (b"ROUTER", b"REQ", b"REP", b"PUB", b"SUB", b"PUSH", b"PULL", b"PAIR", b"STREAM", b"", b"X" * 200):
        async with stranger(address) as one:
            await one.say(greeting() + ready(kind) + b"\x00\x05hello")
    with zmq.Context() as context:
        for number in (zmq.ROUTER, zmq.REQ, zmq.REP, zmq.PUB, zmq.SUB, zmq.PUSH, zmq.PULL, zmq.PAIR):
            with context.socket(number) as socket:
                socket.set(zmq.LINGER, 0)
                socket.connect(f"tcp://{address[0]}:{address[1]}")
                if number in (zmq.ROUTER, zmq.REP, zmq.SUB, zmq.PULL):  # these cannot speak first
                    continue
                if socket.poll(20, zmq.POLLOUT):
                    with contextlib.suppress(zmq.Again):  # it was turned away meanwhile
                        socket.send(b"hello", zmq.NOBLOCK)


async def resets_behind_unread(address: Address, count: int = 1200, times: int = 10) -> None:
    """More messages than a queue might hold, a heartbeat of libzmq's behind each, and then the connection breaks.

    With a limit on what libzmq queues, an assertion in it ends the process here (libzmq#4364).
    """
    one_of_them = b"\x01\x10" + bytes(16) + b"\x00\x03\x92\x07\x01" + b"\x04\x07\x04PING\x00\x00"
    for _ in range(times):
        async with stranger(address) as one:
            await one.handshake()
            await one.say(one_of_them * count)
            one.reset()


ATTACKS: dict[str, Callable[[Address], Awaitable[None]]] = {
    "garbage": garbage,
    "slow loris": slow_loris,
    "huge headers": huge_headers,
    "1,000 connections": many_connections,
    "1,000 connects and closes": rushes,
    "wrong socket types": wrong_sockets,
    "resets behind what is unread": resets_behind_unread,
}
"""Those that libzmq and the library withstand. Endless frames are not among them: see ``endless_frames``."""
