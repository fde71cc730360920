"""A file goes to a container chunk by chunk, and the container counts and hashes it: both sides in one program.

    python examples/upload.py [FILE]

Without a FILE one of 8 MB is made up. However large it is, only a few MiB of it are in memory at a time: a container
that is slow slows the reading down.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpzmq import ComputerEngineWorker, ConnectionLost, ContainerServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CHUNK = 256 * 1024
"""Bytes."""

server = ContainerServer(name="archive")


@server.function
async def store(chunks: AsyncIterator[bytes], name: str) -> dict[str, Any]:
    """Takes a file. What its first parameter is annotated with makes it the function of an upload."""
    digest, size = hashlib.sha256(), 0
    try:
        async for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
    except ConnectionLost:
        # The engine is told, too, and has to begin anew: here is the place to throw away what has come.
        print(f"only {size} bytes of {name} came", file=sys.stderr)
        raise
    return {"name": name, "bytes": size, "sha256": digest.hexdigest()}


def chunks_of(path: Path) -> Iterator[bytes]:
    """The file, piece by piece."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


async def send(path: Path) -> dict[str, Any]:
    """Serves, connects, and uploads a file; returns what the container said of it."""
    async with server, ComputerEngineWorker() as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        archive = await worker.connect(endpoint, name="archive")
        stored: dict[str, Any] = await archive.upload("store", chunks_of(path), path.name, idle_timeout=30.0)
        return stored


def main(path: Path) -> int:
    stored = asyncio.run(send(path))
    print(f"{stored['name']}: {stored['bytes']} bytes")
    with path.open("rb") as file:
        same = stored["sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
    print("the container has hashed the same" if same else "THE CONTAINER HAS HASHED SOMETHING ELSE")
    return 0 if same else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Uploads a file to a container, which hashes it.")
    parser.add_argument("file", nargs="?", type=Path, help="by default one of 8 MB that is made up")
    options = parser.parse_args()
    if options.file is not None:
        sys.exit(main(options.file))
    with tempfile.TemporaryDirectory() as folder:
        made_up = Path(folder) / "made-up.bin"
        made_up.write_bytes(os.urandom(8_000_000))
        sys.exit(main(made_up))
