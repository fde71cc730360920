"""An engine with keys: it talks to the container that holds one key, and to nobody else.

SECURE=. python examples/secure/engine.py [ADDRESS]
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mpzmq import ComputerEngineWorker, ConnectError, Security, keys


async def main(address: str) -> None:
    """Asks the container who it takes this engine for."""
    folder = Path(os.environ.get("SECURE", "."))
    security = Security.client(keys.load(folder / "engine.key"), keys.load_public(folder / "container.pub"))
    async with ComputerEngineWorker(security=security) as worker:
        container = await worker.connect(address)
        print("the container knows this engine as", await container.call("whoami"))


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:3010"))
    except (ConnectError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
