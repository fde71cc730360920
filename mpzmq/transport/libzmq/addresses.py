"""Where sockets are, to tell ours from others of this process, whose descriptors libzmq does not name."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from ...address import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SocketAddresses"]


class SocketAddresses:
    """A set of endpoints, asked about the names of sockets.

    Args:
        endpoints: as libzmq has them: ``tcp://`` with a number as the host, or ``ipc://``.
    """

    def __init__(self, endpoints: Iterable[str] = ()) -> None:
        self._places: set[tuple[str, int] | str] = set()
        self._ports: set[int] = set()
        for endpoint in endpoints:
            self.add(endpoint)

    def __bool__(self) -> bool:
        return bool(self._places or self._ports)

    def __str__(self) -> str:
        return ", ".join(sorted(place if isinstance(place, str) else str(place[1]) for place in self._places))

    def add(self, endpoint: str) -> None:
        """Adds an endpoint."""
        address = parse_address(endpoint, bind=True)
        if address.path:
            self._places.add(address.path)
            return
        host = _canonical(address.host)
        self._places.add((host, address.port))
        if ipaddress.ip_address(host).is_unspecified:
            self._ports.add(address.port)  # its connections are at the addresses of all interfaces

    def __contains__(self, name: Any) -> bool:
        """Whether a socket is there that ``getsockname()`` or ``getpeername()`` gave this name."""
        if isinstance(name, tuple):
            return name[1] in self._ports or (_canonical(name[0]), name[1]) in self._places
        if isinstance(name, bytes):  # an abstract one, whose name begins with a zero byte
            name = "@" + name[1:].decode(errors="surrogateescape")
        return name in self._places


def _canonical(host: str) -> str:
    return str(ipaddress.ip_address(host.partition("%")[0]))
