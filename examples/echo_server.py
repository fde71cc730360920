"""An echo server: whatever an engine sends comes back.

    python examples/echo_server.py [--host 127.0.0.1] [--port 3010]

With ``--port 0`` the system picks a free port; the first line printed tells which. SIGTERM and SIGINT drain: what
runs is finished and answered, new work is refused. A second signal closes at once.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from mpzmq import ContainerServer, MpzmqError

server = ContainerServer(name="echo")


@server.on_invoke
def echo(data: object) -> object:
    """Gives back what it gets: ``service.request(request_id, remote_id, data)``."""
    return data


@server.function
async def later(data: object, seconds: float = 1.0) -> object:
    """Gives it back after a while: ``service.call(remote_id, "later", data, seconds=0.5)``."""
    await asyncio.sleep(seconds)
    return data


async def serve(host: str, port: int, insecure: bool) -> None:
    """Serves until a signal comes."""
    async with server:
        endpoint = await server.bind((host, port), insecure=insecure)
        # Printed when signals are handled already: whoever reads the line may send one at once.
        asyncio.get_running_loop().call_soon(announce, endpoint)
        await server.serve_forever(handle_signals=True)


def announce(endpoint: str) -> None:
    """Tells where the server is."""
    print(f"echo server on {endpoint.removeprefix('tcp://')}", flush=True)


def main() -> int:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description="Sends back whatever an engine sends.")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=3010, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--insecure", action="store_true", help="let other hosts in, although nothing is encrypted")
    args = parser.parse_args()
    try:
        asyncio.run(serve(args.host, args.port, args.insecure))
    except (MpzmqError, OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
