"""``dns://host:port``: all addresses of a host name, A and AAAA."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from typing import TYPE_CHECKING

from ...runtime.names import resolve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...address import Address

    Found = list[tuple[socket.AddressFamily, str]]

__all__ = ["LOOK_UP_TIMEOUT", "HostAddresses"]

LOOK_UP_TIMEOUT = 5.0
"""Seconds for one look-up. One that takes longer goes on in its thread, and the next waits for the same answer."""


class HostAddresses:
    """Looks up the addresses of one host name.

    Args:
        address: the host name, and the port that every address has.
        resolve: looks names up: :func:`mpzmq.runtime.names.resolve`, or what stands in for it.
    """

    def __init__(self, address: Address, resolve: Callable[[str, int], Awaitable[Found]] = resolve) -> None:
        self._address = address
        self._resolve = resolve

    async def look_up(self) -> list[str]:
        """An address for each member, in a settled order: name servers turn theirs.

        Raises:
            OSError: the name has no address, or there was no answer in time.
        """
        host, port = self._address.host, self._address.port
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT):
                found = await self._resolve(host, port)
        except TimeoutError:
            text = f"no answer for the host name {host!r} within {LOOK_UP_TIMEOUT:g} s"
            raise OSError(errno.ETIMEDOUT, text) from None
        except OSError as error:
            text = f"the host name {host!r} has no address ({error.strerror or error})"
            raise OSError(error.errno, text) from None
        numbers = {_unmapped(ipaddress.ip_address(number)) for _, number in found}
        return [f"[{number}]:{port}" if number.version == 6 else f"{number}:{port}" for number in _one_each(numbers)]


def _unmapped(number: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """``::ffff:10.0.0.1`` is 10.0.0.1, written otherwise."""
    return getattr(number, "ipv4_mapped", None) or number


def _one_each(
    numbers: set[ipaddress.IPv4Address | ipaddress.IPv6Address],
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """One address of each host, where that can be known.

    DNS does not say which A and which AAAA are those of one host. But as many of the one as of the other are what hosts
    have that have both, and then one family is all of them: IPv4, since a container that binds to ``*``, or to a name
    that has both, is there. A family that this host has no route to helps nobody. Otherwise all are told, and a group
    finds out which lead to one instance.
    """
    fours, sixes = (sorted(n for n in numbers if n.version == version) for version in (4, 6))
    if not (fours and sixes):
        return fours or sixes
    if not _has_route(socket.AF_INET, str(fours[0])):
        return sixes
    if len(fours) == len(sixes) or not _has_route(socket.AF_INET6, str(sixes[0])):
        return fours
    return [*fours, *sixes]


def _has_route(family: socket.AddressFamily, number: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((number, 9))  # sends nothing
    except OSError:
        return False
    return True
