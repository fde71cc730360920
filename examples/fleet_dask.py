"""Containers in the workers of a Dask cluster, asked as one (needs the extra dask).

Here the cluster is made of two processes of this host, and each of them has a container beside its Dask tasks:

    python examples/fleet_dask.py

With a cluster of your own it is `Client("tcp://scheduler:8786")`, and `mpzmq.fleet("calc:server", on=client)`.
"""

import asyncio
import os
from collections.abc import Sequence

from distributed import Client, LocalCluster

import mpzmq
from mpzmq import ContainerServer

server = ContainerServer()
counts: dict[str, int] = {}


@server.function
def count(word: str) -> tuple[int, int]:
    """How often this container has been asked for a word: a Dask task has no memory of its own, a container has."""
    counts[word] = counts.get(word, 0) + 1
    return os.getpid(), counts[word]


async def main(words: Sequence[str] = ("spam", "egg", "spam", "spam")) -> None:
    async with (
        LocalCluster(n_workers=2, processes=True, dashboard_address=None, asynchronous=True) as cluster,
        Client(cluster, asynchronous=True) as client,
        mpzmq.fleet("fleet_dask:server", on=client) as fleet,  # each worker imports this very file
    ):
        await fleet.wait_ready(members=2)
        print(f"{len(fleet.members)} containers serve")
        for word in words:
            # The same key goes to the same container.
            process, times = await fleet.options(key=word).call("count", word)
            print(f"{word}: asked {times} times in {'another' if process != os.getpid() else 'this'} process")
        print(f"a task of Dask: {await client.submit(sum, [1, 2, 3])}")


if __name__ == "__main__":
    asyncio.run(main())
