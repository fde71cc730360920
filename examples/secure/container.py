"""A container with keys: only engines on its allow-list get in, and everything is encrypted.

    mpzmq keys new container
    mpzmq keys new engine
    mpzmq keys allow allowed engine.pub
    SECURE=. python examples/secure/container.py

The folder that the variable SECURE names holds ``container.key`` and the folder ``allowed``, which is read again
whenever it changes.
"""

from __future__ import annotations

import os
from pathlib import Path

from mpzmq import ContainerServer, RequestContext, Security, keys

folder = Path(os.environ.get("SECURE", "."))
security = Security.server(keys.load(folder / "container.key"), allow=folder / "allowed")
server = ContainerServer(name="vault", security=security)


@server.function
async def whoami(request: RequestContext) -> str | None:
    """The name that the allow-list gives to the caller's key; a caller cannot choose it."""
    return request.user


if __name__ == "__main__":
    server.run("tcp://127.0.0.1:3010")
