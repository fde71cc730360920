"""A name server for one zone, over UDP: as much of DNS as the tests ask for. And a program, for a network of its own.

As a program it takes the numbers of the name ``calc`` from a line of standard input each time, and prints what
``dns://calc:3010`` tells, a line for each change.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from mpzmq.engine.resolvers import resolver_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["NameServer", "name_server"]


class NameServer(asyncio.DatagramProtocol):
    """Answers with the records that it is told to have."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        """A name and a type to the texts of its records."""
        self.is_mute = False
        self.port = 0
        self._transport: Any = None  # that of Python 3.11 is no DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: tuple[str | int, ...]) -> None:
        if self.is_mute:
            return
        query = dns.message.from_wire(data)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True)
        answer = dns.message.make_response(query, recursion_available=True)
        texts = self.records.get((name, dns.rdatatype.to_text(question.rdtype)), [])
        if texts:
            answer.answer.append(dns.rrset.from_text_list(question.name, 1, "IN", question.rdtype, texts))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), address)


@contextlib.asynccontextmanager
async def name_server(port: int = 0) -> AsyncIterator[NameServer]:
    """Serves on a port of loopback."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, ("127.0.0.1", port), family=socket.AF_INET
    )
    try:
        yield server
    finally:
        transport.close()


async def main() -> None:
    """Serves at the port of DNS, and watches the name."""
    async with name_server(53) as server:
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(os.dup(0), "rb")
        )

        async def take_lines() -> None:
            while line := await lines.readline():
                numbers = json.loads(line)
                server.records = {("calc", "A"): [n for n in numbers if ":" not in n]}
                server.records["calc", "AAAA"] = [n for n in numbers if ":" in n]

        async def tell() -> None:
            async for endpoints in resolver_for("dns://calc:3010", refresh=0.05).watch():
                sys.stdout.write(f"{json.dumps([endpoint.address for endpoint in endpoints])}\n")
                sys.stdout.flush()

        telling = asyncio.create_task(tell())
        await take_lines()
        telling.cancel()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except OSError as error:
        sys.exit(str(error))
