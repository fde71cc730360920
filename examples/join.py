"""Containers that dial in: an engine that listens, and containers that come to it.

    python examples/join.py

Here two containers are processes of this host. Behind NAT, in a CI runner or a Slurm job it is the same: each needs the
address of the engine and a token, and nobody has to be able to reach it.

    mpzmq serve join:server --join engine.example:3011 --token-file token --label gpu=1
"""

import asyncio
import os
import secrets
import sys
import tempfile
from pathlib import Path

from mpzmq import ComputerEngineWorker, ContainerServer, MemberJoined, MemberLeft

server = ContainerServer()


@server.function
def square(number: int) -> tuple[int, int]:
    """The square, and the process in which it was made."""
    return number * number, os.getpid()


def write_tokens(folder: Path, *runners: str) -> Path:
    """Gives each runner a token in a file; returns the file of the engine, with RUNNER TOKEN on each line."""
    tokens = {runner: secrets.token_urlsafe(32) for runner in runners}
    for runner, token in tokens.items():
        (folder / runner).write_text(token)
    accepted = folder / "tokens"
    accepted.write_text("".join(f"{runner} {token}\n" for runner, token in tokens.items()))
    return accepted


def serve(endpoint: str, token_file: str, *labels: str) -> list[str]:
    """The command that starts a container, which dials the engine."""
    command = [sys.executable, "-m", "mpzmq", "serve", "join:server", "--app-dir", str(Path(__file__).parent)]
    command += ["--join", endpoint, "--token-file", token_file, "--log-level", "error"]
    return command + [word for label in labels for word in ("--label", label)]


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokens = write_tokens(Path(folder), "runner-1", "runner-2")
        async with (
            ComputerEngineWorker() as worker,
            # In production: "tcp://0.0.0.0:3011", and keys.
            worker.accept("tcp://127.0.0.1:0", tokens=tokens, rejoin_within=1.0) as group,
        ):
            events = group.events()
            starting = [
                asyncio.create_subprocess_exec(*serve(group.endpoint, str(Path(folder, "runner-1")), "gpu=1")),
                asyncio.create_subprocess_exec(*serve(group.endpoint, str(Path(folder, "runner-2")), "gpu=0")),
            ]
            containers = await asyncio.gather(*starting)
            try:
                await group.wait_ready(members=2)
                print(f"{len(group.members)} containers have joined")

                answer, process = await group.where(gpu="1").call("square", 12)
                print(f"{answer}, from the one with gpu=1: {process == containers[0].pid}")

                containers[0].kill()
                answer, _ = await group.call("square", 7, idempotent=True)
                print(f"{answer}, though one was killed")
                came = 0
                async for event in events:
                    came += isinstance(event, MemberJoined)
                    if isinstance(event, MemberLeft):
                        print(f"{came} came, one left: {event.reason}")
                        break
            finally:
                for container in containers:
                    if container.returncode is None:
                        container.terminate()  # it drains
                for container in containers:
                    await container.wait()


if __name__ == "__main__":
    asyncio.run(main())
