"""Arrays of 64 MiB to a container and back: how far they have come, and what passes them on the way."""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid

from mpzmq import ComputerEngineWorker, ContainerServer, Limits, Progress

try:
    import numpy as np
except ImportError:
    sys.exit("this example needs numpy: install the extra, pip install -e '.[numpy]'")

LIMITS = Limits(message_bytes=2 * 1024**3)
server = ContainerServer(name="scaler", limits=LIMITS)


@server.function(thread=True)
def scale(array: np.ndarray, factor: float) -> np.ndarray:
    """The array that arrives lies over the received memory, and is read-only: this makes another."""
    return array * factor


@server.function
def add(a: int, b: int) -> int:
    return a + b


class Bar:
    """Prints each quarter of the way, once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def show(self, progress: Progress) -> None:
        ways = (("sent", progress.sent, progress.to_send), ("received", progress.received, progress.to_receive))
        for what, size, total in ways:
            line = f"{what} {size * 4 // total * 25} %" if total else ""
            if line and line not in self._told:
                self._told.add(line)
                print(line)


async def main(megabytes: int) -> None:
    async with server, ComputerEngineWorker(limits=LIMITS) as worker:
        address = await server.bind("tcp://127.0.0.1:0")
        remote_id = uuid.uuid4()
        container = await worker.connect(remote_id, address, name="scaler")
        array = np.arange(megabytes * 1024**2 // 8, dtype="f8").reshape(-1, 1024)

        scaling = container.function("scale", progress=Bar().show, timeout=60)
        under_way = asyncio.create_task(scaling(array, 0.5))
        passed = 0
        while not under_way.done():
            assert await container.call("add", passed, 1) == passed + 1
            passed += 1
        scaled = await under_way

        print(f"{scaled.dtype} {scaled.shape}, right: {bool((scaled == array * 0.5).all())}")
        print(f"small calls that passed it: {'some' if passed > 1 else 'none'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=64)
    asyncio.run(main(parser.parse_args().megabytes))
