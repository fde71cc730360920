"""Keys, and a container and an engine that have some."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpzmq import ComputerEngineWorker, ContainerServer, Security, keys

if TYPE_CHECKING:
    from pathlib import Path

    from mpzmq import ComputerEngineWriter
    from mpzmq.keys import KeyPair

CONTAINER, ENGINE, STRANGER = (keys.generate() for _ in range(3))


@dataclass
class Secured:
    """A container with keys and a folder of those who get in, and what its handlers have done."""

    server: ContainerServer
    endpoint: str
    folder: Path
    worker: ComputerEngineWorker
    ran: list[Any] = field(default_factory=list)

    def allow(self, name: str, pair: KeyPair, *functions: str) -> None:
        """Writes a key into the folder, in one step."""
        text = f'public-key = "{pair.public}"\n' + (f"allow = {list(functions)}\n" if functions else "")
        temporary = self.folder / f".{name}"
        temporary.write_text(text)
        temporary.rename(self.folder / f"{name}.pub")

    def revoke(self, name: str) -> None:
        """Takes a key out of the folder."""
        (self.folder / f"{name}.pub").unlink()

    async def connect(self, pair: KeyPair = ENGINE, **options: Any) -> ComputerEngineWriter:
        """A link with a pair of keys."""
        security = Security.client(pair, CONTAINER.public)
        return await self.worker.connect(uuid.uuid4(), self.endpoint, security=security, **options)
