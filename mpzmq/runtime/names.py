"""What this process is called, and which addresses host names have."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from ..common.daemon_threads import in_daemon_thread

__all__ = ["checked_name", "process_name", "resolve"]

Addresses = list[tuple[socket.AddressFamily, str]]

_under_way: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Future[Addresses]] = {}
"""Lookups that have not ended: a name is looked up once at a time."""


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


async def resolve(host: str, port: int) -> Addresses:
    """The addresses of a host name, as numbers with their families, in the resolver's order.

    In a thread of its own: a name server that does not answer holds a lookup for half a minute. ``loop.getaddrinfo()``
    would wait for whatever the application does in the loop's default executor, and hold the loop when it ends.

    Raises:
        OSError: the name has no address; ``strerror`` says why.
    """
    key = asyncio.get_running_loop(), host, port
    lookup = _under_way.get(key)
    if lookup is None:
        for old in [old for old in list(_under_way) if old[0].is_closed()]:
            _under_way.pop(old, None)
        try:
            lookup = _under_way[key] = in_daemon_thread("mpzmq-lookup", lambda: _look_up(host, port))
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from None
        lookup.add_done_callback(lambda lookup: _on_answer(key, lookup))
    # Who asks may give up, the thread cannot: whoever asks again waits for the same answer.
    return await asyncio.shield(lookup)


def _on_answer(key: tuple[asyncio.AbstractEventLoop, str, int], lookup: asyncio.Future[Addresses]) -> None:
    _under_way.pop(key, None)
    if not lookup.cancelled():
        lookup.exception()  # whoever has asked may be gone: then nobody else looks at it


def _look_up(host: str, port: int) -> Addresses:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # IDNA cannot encode it: a label is empty, or too long, or ...
        # Python 3.11 wraps the error that says why; since 3.13 it is a field.
        reason = error.reason if isinstance(error, UnicodeEncodeError) else error.__cause__ or error
        raise socket.gaierror(socket.EAI_NONAME, f"it is not a host name: {reason}") from None
    return list(dict.fromkeys((socket.AddressFamily(entry[0]), str(entry[4][0])) for entry in found))
