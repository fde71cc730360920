"""Addresses as users write them."""

from __future__ import annotations

import ipaddress
import os
import sys
from dataclasses import dataclass

__all__ = ["RUST", "Address", "parse_address", "parse_zmq_address"]

MAX_IPC_PATH = 103
"""Bytes: what every system's sockaddr_un can hold (Linux 107, macOS 103)."""

RUST = "rust+tcp"
"""The scheme of the wire of the Rust crate mp-executor-engine."""

_FORMS = 'use "host:port", "[::1]:port", "tcp://host:port", (host, port) or "ipc://path"'


@dataclass(frozen=True, slots=True)
class Address:
    """One parsed address: a TCP host and port, and what is spoken there; or the path of an ipc socket."""

    text: str
    host: str = ""
    port: int = 0
    path: str = ""
    scheme: str = "tcp"

    @property
    def is_numeric(self) -> bool:
        """Whether no name has to be looked up."""
        return bool(self.path) or _ip(self.host) is not None

    def endpoint(self, host: str | None = None) -> str:
        """The address as a transport wants it, with the host replaced by a number that was looked up."""
        if self.path:
            return f"ipc://{self.path}"
        host = self.host if host is None else host
        return f"{self.scheme}://[{host}]:{self.port}" if ":" in host else f"{self.scheme}://{host}:{self.port}"


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def parse_address(address: object, *, bind: bool = False) -> Address:
    """Reads an address in any of the forms that users write.

    Args:
        address: ``"host:port"``, ``"[::1]:port"``, ``"tcp://host:port"``, ``(host, port)``, ``"ipc://path"``, or
            ``"rust+tcp://host:port"``.
        bind: whether it is to be bound: port 0 picks a free one, host ``*`` is every interface.

    Raises:
        TypeError: it is neither a string nor a pair.
        ValueError: it is malformed.
    """
    scheme = "tcp"
    if isinstance(address, tuple):
        if len(address) != 2 or not isinstance(address[0], str) or not isinstance(address[1], int):
            raise ValueError(f"{address!r} is not an address: {_FORMS}")
        host, port = address
        text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    elif isinstance(address, str):
        text = address
        if address.startswith("ipc://"):
            path = address.removeprefix("ipc://")
            if path in ("", "@") or "\0" in path:
                raise ValueError(f"{address!r} has no path: {_FORMS}")
            if path.startswith("*"):
                raise ValueError(
                    f"{address!r} has no path: a path is not picked, as port 0 is; make a folder"
                    " (tempfile.mkdtemp()) and name a path in it"
                )
            if path.startswith("@") and sys.platform != "linux":
                raise ValueError(f"{address!r} is an abstract socket, which only Linux has: use a path")
            if not _is_text(path):
                raise ValueError(f"{address!a} has a path that cannot be written in UTF-8: {_FORMS}")
            if len(os.fsencode(path)) > MAX_IPC_PATH:
                raise ValueError(f"{address!r} is too long: an ipc path has at most {MAX_IPC_PATH} bytes")
            return Address(text, path=path)
        scheme, host, port = _split(address)
    else:
        raise TypeError(f"an address is a string or a pair, not {type(address).__name__}: {_FORMS}")
    if bind and host == "*":
        host = "0.0.0.0"
    if not host.isprintable():
        raise ValueError(f"{address!a} has no valid host: {host!a} has characters that no host name has; {_FORMS}")
    if not host or any(c.isspace() or c in "/;@*[]" for c in host) or (":" in host and _ip(host) is None):
        raise ValueError(f"{address!r} has no valid host: {_FORMS}")
    if isinstance(port, bool) or not (0 if bind else 1) <= port <= 65535:
        raise ValueError(f"{address!r} has no valid port (1 to 65535): {_FORMS}")
    return Address(text, host=host, port=port, scheme=scheme)


def parse_zmq_address(address: object, *, bind: bool = False) -> Address:
    """The same, for what is said in this protocol only: containers that dial in.

    Raises:
        TypeError, ValueError: as above; or something else is spoken there.
    """
    parsed = parse_address(address, bind=bind)
    if parsed.scheme == RUST:
        raise ValueError(
            f"{parsed.text}: nobody dials in over the wire of the Rust crate, which has no JOIN: use tcp://"
        )
    return parsed


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split(address: str) -> tuple[str, str, int]:
    scheme, separator, rest = address.rpartition("://")
    scheme = scheme if separator else "tcp"
    if scheme not in ("tcp", RUST):
        raise ValueError(f"{address!r} has the scheme {scheme!r}, which mpzmq does not speak: {_FORMS}")
    host, colon, port = rest.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5:
        raise ValueError(f"{address!r} has no port: {_FORMS}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r} is ambiguous: write an IPv6 address in brackets, as [::1]:3010")
    return scheme, host, int(port)
