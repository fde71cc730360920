"""An engine's key and a container's key are replaced while calls go on, and no call fails.

    python examples/secure/rotation.py

The engine's key: the container allows the old and the new one; the engine connects with the new one, lets its old link
finish what is under way, and the old key is revoked. The container's key: the engine accepts the old and the new one;
the container is restarted with the new one, and what was asked meanwhile waits for it.

Exit code 0: every call was answered. 1: the details are on stderr.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from mpzmq import AuthenticationFailed, ComputerEngineWorker, ComputerEngineWriter, MpzmqError, Security, keys
from mpzmq.testing import ContainerProcess

if TYPE_CHECKING:
    from mpzmq.keys import KeyPair

CALLERS = 10
PATIENCE = 20.0
"""Seconds after which something that has to happen has not."""


class Story:
    """The folder of the container, the link that calls go to, and what became of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.container: ComputerEngineWriter | None = None
        self.answered = 0
        self.failures: list[Exception] = []
        self.enough = asyncio.Event()

    def allow(self, *pairs: KeyPair) -> None:
        """Writes the list of the engine's keys, in one step."""
        listed = ", ".join(f'"{pair.public}"' for pair in pairs)
        draft = self.folder / "allowed" / ".engine"
        draft.write_text(f"public-key = [{listed}]\n", "utf-8")
        draft.rename(self.folder / "allowed" / "engine.pub")

    async def keep_calling(self) -> None:
        """Makes one call after the other on the link of the moment."""
        while not self.enough.is_set():
            assert self.container is not None
            try:
                assert await self.container.call("whoami") == "engine"
                self.answered += 1
            except MpzmqError as error:
                self.failures.append(error)

    async def more(self, count: int = 100) -> None:
        """Waits until so many calls more were answered."""
        goal = self.answered + count
        async with asyncio.timeout(PATIENCE):
            while self.answered < goal:  # noqa: ASYNC110  (it happens some thousand times a second)
                await asyncio.sleep(0.01)


async def connect(worker: ComputerEngineWorker, endpoint: str, security: Security) -> ComputerEngineWriter:
    """Connects as soon as the container knows the key: it looks at its list once a second."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await worker.connect(endpoint, security=security)
        except AuthenticationFailed:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


async def is_refused(worker: ComputerEngineWorker, endpoint: str, security: Security) -> bool:
    """Whether a key does not get in any more."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            container = await worker.connect(endpoint, security=security)
        except AuthenticationFailed:
            return True
        await container.disconnect()
        await asyncio.sleep(0.1)
    return False


async def run(folder: Path) -> int:
    """Plays the story; returns the exit code."""
    engine, next_engine, container, next_container = (keys.generate() for _ in range(4))
    keys.save(container, folder / "container.key")
    keys.save(next_container, folder / "next.key")
    (folder / "allowed").mkdir()
    story = Story(folder)
    story.allow(engine)
    process = ContainerProcess("container:server", folder=Path(__file__).parent, env={"SECURE": str(folder)})
    both = [container.public, next_container.public]
    with process:
        async with ComputerEngineWorker().with_reconnect_interval(100) as worker:  # milliseconds
            story.container = old = await worker.connect(
                uuid4(), process.endpoint, security=Security.client(engine, both)
            )
            callers = [asyncio.create_task(story.keep_calling()) for _ in range(CALLERS)]
            await story.more()

            story.allow(engine, next_engine)
            story.container = await connect(worker, process.endpoint, Security.client(next_engine, both))
            await worker.disconnect(old.remote_id, timeout=PATIENCE)  # what is under way there comes to its end
            story.allow(next_engine)
            refused = await is_refused(worker, process.endpoint, Security.client(engine, both))
            await story.more()
            print(f"the engine has a new key; the old one {'is refused' if refused else 'STILL GETS IN'}", flush=True)

            shutil.copy2(folder / "next.key", folder / "container.key")
            await asyncio.to_thread(process.restart)
            await story.more()
            new_only = Security.client(next_engine, next_container.public)
            await connect(worker, process.endpoint, new_only)
            print("the container has a new key", flush=True)
            story.enough.set()
            await asyncio.gather(*callers)
    print(f"{story.answered} calls were answered, {len(story.failures)} failed")
    for failure in story.failures[:10]:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
    return 1 if story.failures or not refused else 0


def main() -> int:
    """Runs it in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
