"""Who can reach what listens here: this host's own programs, or whoever comes."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from ..common.logs import Log
from ..errors import InsecureBind
from .names import resolve

if TYPE_CHECKING:
    from ..address import Address

__all__ = ["check_insecure_bind", "host_to_bind"]

log = Log(__name__)


async def host_to_bind(address: Address) -> str:
    """The host of an address, as a number.

    Raises:
        OSError: the name has no address.
    """
    host = address.host
    if address.is_numeric:
        return host
    try:
        found = await resolve(host, address.port)
    except OSError as error:
        text = f"cannot bind {address.text}: the host name {host!r} has no address ({error.strerror})"
        raise OSError(error.errno, text) from None
    # libzmq binds to one address: the first of the IPv4 ones, which every client can reach.
    return min(found, key=lambda entry: entry[0] != socket.AF_INET)[1]


def check_insecure_bind(address: Address, host: str, whose: str, danger: str, *, insecure: bool) -> None:
    """Checks that only programs of this host can reach what asks nobody who they are.

    Args:
        address: where it is to listen.
        host: that address's host, as a number.
        whose: what is to listen, for the log.
        danger: what strangers could do there, and what there is against it.
        insecure: whether everybody may come who can.

    Raises:
        InsecureBind: other hosts could reach it, and that was not allowed.
    """
    if ipaddress.ip_address(host).is_loopback:
        return
    if not insecure:
        raise InsecureBind(f"{address.text} can be reached from other hosts, {danger}", endpoint=address.text)
    log.warning("%s binds to %s without security", whose, address.text)
