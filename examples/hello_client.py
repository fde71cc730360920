"""Says hello to a container and prints its reply.

python examples/echo_server.py &
python examples/hello_client.py 127.0.0.1:3010
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from mpzmq import ComputerEngineWorker, MpzmqError


async def hello(address: str, text: str) -> object:
    """Connects, sends one request, and returns its reply."""
    async with ComputerEngineWorker() as worker, worker.connect(address) as container:
        return await container.request(text, timeout=10.0)


def main() -> int:
    """Reads the command line, says hello, and tells an error in one line."""
    parser = argparse.ArgumentParser(description="Sends one request to a container and prints the reply.")
    parser.add_argument("address", help="where the container is, such as 127.0.0.1:3010")
    parser.add_argument("text", nargs="?", default="Hello from client", help="what to send (default: %(default)r)")
    args = parser.parse_args()
    try:
        print(asyncio.run(hello(args.address, args.text)))
    except (MpzmqError, ValueError) as error:  # ValueError: the address is malformed
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
