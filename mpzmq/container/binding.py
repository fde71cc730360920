"""Where a container may listen: nowhere that strangers can reach, unless it can tell them from friends."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from ..common.logs import Log
from ..errors import InsecureBind
from ..runtime.names import resolve

if TYPE_CHECKING:
    from ..address import Address

__all__ = ["bindable"]

log = Log(__name__)


async def bindable(address: Address, container: str, *, secure: bool, insecure: bool) -> str:
    """The host to bind to, as a number, checked for who can reach it.

    Args:
        address: where to listen.
        container: the container's name, for the log.
        secure: whether engines have to prove who they are.
        insecure: whether everybody may come who can.

    Raises:
        InsecureBind: other hosts could reach it, and it is neither.
        OSError: the name has no address.
    """
    host = address.host
    if not address.is_numeric:
        try:
            found = await resolve(host, address.port)
        except OSError as error:
            text = f"cannot bind {address.text}: the host name {host!r} has no address ({error.strerror})"
            raise OSError(error.errno, text) from None
        # libzmq binds to one address: the first of the IPv4 ones, which every client can reach.
        host = min(found, key=lambda entry: entry[0] != socket.AF_INET)[1]
    if secure or address.path or ipaddress.ip_address(host).is_loopback:
        return host
    if not insecure:
        raise InsecureBind(
            f"{address.text} can be reached from other hosts, and without security anybody there can call every"
            " function: give the server keys (security=Security.server(keys, allow=...), on the command line --keys and"
            " --allow), or pass insecure=True (--insecure) if the network itself is trusted; or bind to 127.0.0.1 or"
            " ipc",
            endpoint=address.text,
        )
    log.warning("container %r binds to %s without security", container, address.text)
    return host
