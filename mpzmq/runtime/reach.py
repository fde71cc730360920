"""Who can reach what listens here: this host's own programs, or whoever comes."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from ..common.logs import Log
from ..errors import InsecureBind
from .names import resolve

if TYPE_CHECKING:
    from collections.abc import Container

    from ..address import Address

__all__ = ["check_insecure_bind", "host_to_bind", "is_known_host"]

log = Log(__name__)

_HOST = re.compile(r"(?:\[(?P<ip>[0-9a-f:.]+)\]|(?P<name>[^\[\]:]+))(?::[0-9]{1,5})?")
_BARE_NAME = re.compile(r"[a-z0-9_-]+")


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


def is_known_host(header: str | None, names: Container[str]) -> bool:
    """Whether an HTTP client has meant what listens here: whether its ``Host`` is an address, or a name of ours.

    A page of a stranger's site can make a browser of this host ask here, under a name of the stranger's that has
    this host's address by now; and it could read the answer. Nobody outside owns a name without a dot.

    Args:
        header: the client's ``Host``; None: it has none, and is no browser.
        names: those with a dot that are ours, in lower case.
    """
    if header is None:
        return True
    found = _HOST.fullmatch(header.lower())
    if found is None:
        return False
    name = found["name"] or found["ip"]
    if name in names or _BARE_NAME.fullmatch(name):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
