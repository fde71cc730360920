"""What this process is called, and which addresses host names have."""

from __future__ import annotations

import asyncio
import os
import socket

__all__ = ["checked_name", "process_name", "resolve"]


def process_name() -> str:
    """``HOST/PID``: what either side calls itself where nobody has said otherwise."""
    # The name of a host is bytes, and those that are not UTF-8 could not be sent.
    host = socket.gethostname().encode("utf-8", "backslashreplace").decode()
    return f"{host}/{os.getpid()}"


def checked_name(name: object) -> str:
    """A name that the user has given.

    Raises:
        TypeError: it is not a str.
        ValueError: it cannot be sent, because it is not Unicode (it has a lone surrogate).
    """
    if not isinstance(name, str):
        raise TypeError(f"name is a str, not {type(name).__name__}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"name is {name!a}, which cannot be written in UTF-8") from None
    return name


async def resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    """The addresses of a host name, as numbers with their families, in the resolver's order.

    Raises:
        OSError: the name has no address; ``strerror`` says why.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # IDNA cannot encode it: a label is empty, or too long, or ...
        reason = error.__cause__ or error
        raise socket.gaierror(socket.EAI_NONAME, f"it is not a host name: {reason}") from None
    return list(dict.fromkeys((socket.AddressFamily(entry[0]), str(entry[4][0])) for entry in found))
