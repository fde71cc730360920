"""Three containers die and come back, and a node keeps sending to them all the while.

    python examples/reconnect.py [--kills 3] [--seed 7]

Each container is a process of its own. Again and again one of them is killed with SIGKILL and started again on its
port. At the end every failed request is checked: did ``executed`` tell the truth? For that a container writes the id
of each request that it starts to a pipe, before anything else; what was written stays readable after its death.

Exit code 0: every request has ended, and no error has lied. 1: the details are on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ContainerServer,
    Executed,
    LinkDown,
    LinkUp,
    RequestContext,
    RequestError,
)

if TYPE_CHECKING:
    from mpzmq import EngineService

NAMES = ("red", "green", "blue")
SENDERS = 8
"""Coroutines that send to each container, one request after the other."""

PAUSE = 0.02
"""Seconds that a sender rests after a failure."""

PATIENCE = 30.0
"""Seconds after which something that has to happen has not."""


# The container: what runs in the three processes


async def serve(port: int) -> None:
    """Serves until SIGTERM, or until the process that started it is gone."""
    threading.Thread(target=die_with_parent, daemon=True).start()
    server = ContainerServer()

    @server.on_invoke
    async def work(seconds: float, request: RequestContext) -> float:
        os.write(sys.stdout.fileno(), f"{request.request_id}\n".encode())
        await asyncio.sleep(seconds)
        return seconds

    async with server:
        endpoint = await bind(server, port)
        print(endpoint.rpartition(":")[2], flush=True)
        await server.serve_forever(handle_signals=True)


def die_with_parent() -> None:
    """The parent holds the other end of stdin. However it ends, the system then closes it."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


async def bind(server: ContainerServer, port: int) -> str:
    """Binds to the port. While nobody listens there, a passing connection may have it for a moment."""
    deadline = time.monotonic() + 5.0
    while True:
        try:
            return await server.bind(("127.0.0.1", port))
        except OSError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


# The node


class Container:
    """One container: a process, and after each kill another one on the same port."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.remote_id = uuid4()
        self.port = 0
        self.kills = 0
        self.ran: Counter[UUID] = Counter()
        """How often each request was started, as the processes reported it."""
        self.answered: list[UUID] = []
        self.failed: list[RequestError] = []
        self.issued: set[UUID] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process of now."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Starts a process, and waits until it serves."""
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            f"--serve={self.port}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        if not line:
            raise RuntimeError(f"the container {self.name} did not start")
        self.port = int(line)
        self._reading = asyncio.create_task(self._read(process.stdout))

    async def kill(self) -> None:
        """SIGKILL: nothing is said, nothing is finished."""
        assert self._process is not None
        self.kills += 1
        self._process.kill()
        await self._end(self._process)

    async def stop(self) -> None:
        """SIGTERM: the container drains. A process that has ended, or never began, is nothing to do."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
        await self._end(process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        if self._reading is not None:
            await self._reading  # to the end of the pipe: the last words of the dead

    async def _read(self, reports: asyncio.StreamReader) -> None:
        async for line in reports:
            self.ran[UUID(line.decode().strip())] += 1


async def keep_sending(
    container: Container, service: EngineService, dice: random.Random, enough: asyncio.Event, *, wait: bool
) -> None:
    """Sends one request after the other, whatever becomes of them."""
    while not enough.is_set():
        request_id = uuid4()
        container.issued.add(request_id)
        try:
            await service.request(request_id, container.remote_id, dice.uniform(0.0, 0.2), wait=wait)
        except RequestError as error:
            container.failed.append(error)
            await asyncio.sleep(PAUSE)
        else:
            container.answered.append(request_id)


async def kill_one(number: int, container: Container, service: EngineService, dice: random.Random) -> None:
    """Kills a container, sees it DOWN, starts it again, and sees it ALIVE."""
    events = service.events(container.remote_id)
    killed, pid = time.monotonic(), container.pid
    await container.kill()
    async for event in events:
        if isinstance(event, LinkDown):
            break
    down = time.monotonic()
    await asyncio.sleep(dice.uniform(0.0, 0.5))
    await container.start()
    started = time.monotonic()
    async for event in events:
        if isinstance(event, LinkUp):
            break
    print(
        f"kill {number}: {container.name}, process {pid}: DOWN after {1000 * (down - killed):.0f} ms;"
        f" again as process {container.pid}: ALIVE after {1000 * (time.monotonic() - started):.0f} ms",
        flush=True,
    )


async def run(kills: int, seed: int) -> int:
    """Plays the whole story; returns the exit code."""
    dice = random.Random(seed)
    containers = [Container(name) for name in NAMES]
    print(f"seed {seed}, node process {os.getpid()}", flush=True)
    try:
        worker = ComputerEngineWorker().with_reconnect_interval(100)  # milliseconds
        async with worker:
            engines = []
            for container in containers:
                await container.start()
                address = f"127.0.0.1:{container.port}"
                engines.append(await worker.connect(container.remote_id, address, name=container.name))
                print(f"{container.name}: process {container.pid} at {address}", flush=True)
            hanging = await send_and_kill(containers, worker.service(timeout=5.0), kills, dice)
        # From here on nothing runs that could still start a request.
        await asyncio.gather(*(container.stop() for container in containers))
    finally:
        await asyncio.gather(*(container.stop() for container in containers))
    lies = [f"{hanging} senders did not come to an end"] if hanging else []
    for container, engine in zip(containers, engines, strict=True):
        lies += [f"{container.name}: {lie}" for lie in check(container, engine)]
    report(containers, engines)
    for lie in lies[:20]:
        print(lie, file=sys.stderr)
    if lies:
        print(f"{len(lies)} things are not as promised", file=sys.stderr)
        return 1
    print("every request has ended, and every error told the truth")
    return 0


async def send_and_kill(containers: list[Container], service: EngineService, kills: int, dice: random.Random) -> int:
    """Keeps sending while containers die; returns how many senders did not come to an end."""
    enough = asyncio.Event()
    senders = [
        # Half of them wait for a container that is away, the others hear at once that it is.
        asyncio.create_task(keep_sending(container, service, dice, enough, wait=bool(number % 2)))
        for container in containers
        for number in range(SENDERS)
    ]
    try:
        for number in range(1, kills + 1):
            await asyncio.sleep(dice.uniform(0.1, 0.5))
            async with asyncio.timeout(PATIENCE):
                await kill_one(number, dice.choice(containers), service, dice)
        await asyncio.sleep(0.5)
    finally:
        enough.set()
        ended, hanging = await asyncio.wait(senders, timeout=PATIENCE)
    for sender in ended:
        sender.result()  # raises what should not have happened
    for sender in hanging:
        sender.cancel()
    return len(hanging)


# The verdict


def check(container: Container, engine: ComputerEngineWriter) -> list[str]:
    """What was not as promised."""
    faults = [f"request {request_id} ran {times} times" for request_id, times in container.ran.items() if times > 1]
    faults += [
        f"request {request_id} was answered, but never ran"
        for request_id in container.answered
        if request_id not in container.ran
    ]
    for error in container.failed:
        ran = error.request_id in container.ran
        if (error.executed is Executed.NO and ran) or (error.executed is Executed.YES and not ran):
            faults.append(
                f"request {error.request_id} {'ran' if ran else 'never ran'}, but said {error.executed}: {error}"
            )
    ended = Counter([*container.answered, *(error.request_id for error in container.failed)])
    if ended != Counter(container.issued):
        faults.append(f"{len(container.issued)} requests were issued, and {ended.total()} ended")
    counted = engine.statistics()
    told = (counted.issued, counted.replied, counted.failed, counted.cancelled, counted.in_flight)
    if told != (len(container.issued), len(container.answered), len(container.failed), 0, 0):
        faults.append(f"its statistics are wrong: {counted}")
    if not container.answered:
        faults.append("it answered nothing")
    return faults


def report(containers: list[Container], engines: list[ComputerEngineWriter]) -> None:
    """The counts of each container, and what the failures said."""
    print(f"\n{'container':<10}{'kills':>7}{'issued':>9}{'answered':>10}{'failed':>8}{'reconnects':>12}")
    for container, engine in zip(containers, engines, strict=True):
        numbers = (container.kills, len(container.issued), len(container.answered), len(container.failed))
        print("{:<10}{:>7}{:>9}{:>10}{:>8}{:>12}".format(container.name, *numbers, engine.statistics().reconnects))
    told: Counter[tuple[str, str, bool]] = Counter(
        (type(error).__name__, error.executed, error.request_id in container.ran)
        for container in containers
        for error in container.failed
    )
    if told:
        print(f"\n{'error':<16}{'executed':>10}{'had run':>9}{'requests':>10}")
    for (name, executed, ran), count in sorted(told.items()):
        print(f"{name:<16}{executed:>10}{'yes' if ran else 'no':>9}{count:>10}")
    print()


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Kills containers while a node keeps sending to them.")
    parser.add_argument("--kills", type=int, default=3, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="repeats the dice of another run")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    try:
        if args.serve is not None:
            asyncio.run(serve(args.serve))
            return 0
        return asyncio.run(run(args.kills, args.seed))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
