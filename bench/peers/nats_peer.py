"""nats-py's request and reply, through a nats-server of this run."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack

from .base import AsyncPeer, absent, serve_until_killed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from ..scenarios import Scenario
    from .base import Call

MAX_PAYLOAD = 8 * 1024 * 1024
TIMEOUT = 30.0


def _program() -> str | None:
    return shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/bin")


class NatsPy(AsyncPeer):
    """A subscription that answers; ``client.request()``."""

    name = "nats"
    title = "nats-py"
    unfair = "Every message passes a broker, which is a process more; it brings subjects, queues and many languages."
    needs = ("nats",)

    def missing(self) -> str | None:
        """The package, or the server's program."""
        if _program() is None:
            return "nats-server is not installed: apt-get install nats-server"
        return absent(*self.needs)

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """Starts the broker, and answers at it."""
        import nats

        with _broker() as endpoint:
            client = await nats.connect(endpoint)

            async def answer(message: Any) -> None:
                await message.respond(msgpack.packb(msgpack.unpackb(message.data)))

            await client.subscribe("echo", cb=answer)
            await client.flush()
            ready([endpoint])
            await serve_until_killed()

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """One client."""
        import nats

        client = await nats.connect(endpoints[0])

        async def call(payload: Any) -> Any:
            message = await client.request("echo", msgpack.packb(payload), timeout=TIMEOUT)
            return msgpack.unpackb(message.data)

        try:
            yield [call]
        finally:
            await client.close()

    def supports(self, scenario: Scenario) -> bool:
        """One container, and no more than a broker should carry."""
        return scenario.containers == 1 and scenario.kind != "view" and scenario.size < MAX_PAYLOAD


@contextlib.contextmanager
def _broker() -> Iterator[str]:
    """A nats-server of its own on a free port; it writes where it listens into a file."""
    program = _program()
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "nats.conf")
        settings.write_text(f'listen: "127.0.0.1:-1"\nmax_payload: {MAX_PAYLOAD}\nports_file_dir: "{folder}"\n')
        quiet = subprocess.DEVNULL
        broker = subprocess.Popen([program, "-c", str(settings)], stdout=quiet, stderr=quiet)
        try:
            end = time.monotonic() + TIMEOUT
            while not (endpoint := _endpoint(Path(folder))):
                if broker.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{program} does not start: exit code {broker.poll()}")
                time.sleep(0.02)
            yield endpoint
        finally:
            broker.terminate()
            broker.wait()


def _endpoint(folder: Path) -> str:
    for file in folder.glob("nats-server_*.ports"):
        with contextlib.suppress(ValueError):  # half written
            return str(json.loads(file.read_text())["nats"][0])
    return ""


PEER = NatsPy()
