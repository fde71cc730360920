"""A quick look at the speed: mpzmq beside plain pyzmq, interleaved in one run.

    python bench/quick.py [--seconds 1.0] [--rounds 3] [--loop auto]

Client and server are processes of their own. Plain pyzmq is a blocking DEALER and ROUTER in tight loops, without an
event loop, ids, deadlines or errors: what the wire can do, not what an application gets.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import sys
import time
import uuid

import msgpack
import zmq

import mpzmq

SMALL = b"x" * 64
LARGE = os.urandom(1024 * 1024)
SCENARIOS = ((SMALL, 1), (SMALL, 64), (SMALL, 1000), (LARGE, 8))


def serve_mpzmq(loop: str) -> None:
    """An echo container; prints its port."""
    server = mpzmq.ContainerServer()

    @server.on_invoke
    def echo(data: object) -> object:
        return data

    async def announce() -> None:
        async with server:
            print(await server.bind("tcp://127.0.0.1:0"), flush=True)
            await server.serve_forever(handle_signals=True)

    from mpzmq.container.process import loop_factory

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(announce())


def serve_plain() -> None:
    """An echo ROUTER; prints its endpoint."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.set(zmq.SNDHWM, 0)
        socket.set(zmq.RCVHWM, 0)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        print(f"tcp://127.0.0.1:{port}", flush=True)
        while True:
            frames = socket.recv_multipart(copy=False)
            socket.send_multipart(frames, copy=False)


def run_plain(endpoint: str, payload: bytes, in_flight: int, seconds: float) -> float:
    """Requests per second of a blocking DEALER that keeps ``in_flight`` messages under way."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.SNDHWM, 0)
        socket.set(zmq.RCVHWM, 0)
        socket.set(zmq.LINGER, 0)
        socket.connect(endpoint)
        large = len(payload) > 65536
        for _ in range(in_flight):
            socket.send(payload, 0, not large)
        done = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            bytes(socket.recv(copy=False).buffer) if large else socket.recv()
            socket.send(payload, 0, not large)
            done += 1
        return done / seconds


async def run_mpzmq(endpoint: str, payload: bytes, in_flight: int, seconds: float) -> float:
    """Requests per second of ``in_flight`` coroutines that call one after another."""
    async with mpzmq.ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), endpoint)
        done = 0
        end = time.perf_counter() + seconds

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < end:
                await container.request(payload)
                done += 1

        await asyncio.gather(*(caller() for _ in range(in_flight)))
        counted = container.statistics()
        assert counted.issued == counted.replied == done, counted
        return done / seconds


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long one measurement takes")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is taken; the median is shown")
    parser.add_argument("--loop", default="auto", choices=("auto", "asyncio", "uvloop"))
    parser.add_argument("--serve", choices=("mpzmq", "plain"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve == "mpzmq":
        serve_mpzmq(args.loop)
    elif args.serve == "plain":
        serve_plain()
    else:
        measure(args.seconds, args.rounds, args.loop)


def measure(seconds: float, rounds: int, loop: str) -> None:
    """Runs all scenarios, interleaved."""
    from mpzmq.container.process import loop_factory

    command = [sys.executable, __file__, "--loop", loop, "--serve"]
    servers = {
        name: subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("mpzmq", "plain")
    }
    try:
        endpoints = {name: server.stdout.readline().strip() for name, server in servers.items() if server.stdout}
        factory = loop_factory(loop)
        print(
            f"Python {platform.python_version()}, mpzmq {mpzmq.__version__}, pyzmq {zmq.__version__},"
            f" libzmq {zmq.zmq_version()}, msgpack {'.'.join(map(str, msgpack.version))},"
            f" {factory.__module__.partition('.')[0]}, {os.cpu_count()} cores, {platform.system()}"
        )
        print(f"{'payload':>10} {'in flight':>10} {'mpzmq/s':>10} {'plain/s':>10} {'ratio':>7}   median of {rounds}")
        for payload, in_flight in SCENARIOS:
            ours, plain = [], []
            for _ in range(rounds):
                with asyncio.Runner(loop_factory=factory) as runner:
                    ours.append(runner.run(run_mpzmq(endpoints["mpzmq"], payload, in_flight, seconds)))
                plain.append(run_plain(endpoints["plain"], payload, in_flight, seconds))
            a, b = statistics.median(ours), statistics.median(plain)
            print(f"{len(payload):>10,} {in_flight:>10,} {a:>10,.0f} {b:>10,.0f} {a / b:>7.2f}", flush=True)
    finally:
        for server in servers.values():
            server.terminate()
            server.wait()
            if server.stdout:
                server.stdout.close()


if __name__ == "__main__":
    main()
