"""Which resolver a source is for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ...address import parse_address
from ...common.text import repr_of, type_name
from .address_file import POLL_INTERVAL, AddressFile
from .announcement_folder import AnnouncementFolder
from .fixed import Fixed, from_environment, from_text
from .host_addresses import HostAddresses
from .polling import Polled
from .resolver import Resolver
from .service_records import ServiceRecords
from .source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .endpoint import Endpoint

__all__ = ["ENTRY_POINTS", "resolver_for"]

ENTRY_POINTS = "mpzmq.resolvers"
"""The group of entry points whose names are schemes. Each is called with the source and ``refresh=``."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_ADDRESSES = ("tcp", "ipc", "rust+tcp")  # schemes of addresses, and not of sources


def resolver_for(source: str | Sequence[str | Endpoint] | Resolver, *, refresh: float = 5.0) -> Source:
    """What follows a source.

    Args:
        source: a list or tuple of addresses or Endpoints; addresses separated by commas; ``dns://host:port``,
            ``srv://_service._proto.name``, ``env://VARIABLE``, ``file:///path``, ``dir:///path``, or what an entry
            point of ``mpzmq.resolvers`` is for; or an object with ``watch()``.
        refresh: seconds between two look-ups of a name, and until a resolver that has failed is asked again.

    Raises:
        TypeError: it is nothing of that.
        ValueError: it is malformed, or of a scheme that nobody knows.
        ImportError: an extra is missing; the text names it.
    """
    if isinstance(source, list | tuple):
        return Source("a list of members", Fixed(source), pause=refresh)
    if not isinstance(source, str):
        if isinstance(source, Resolver) and not isinstance(source, type):
            return Source(repr_of(source, 100), source, pause=refresh)
        raise TypeError(
            "a source of members is a list or tuple of addresses and Endpoints, a str such as 'dns://calc:3010', or an"
            f" object with watch(), not {type_name(source)}"
        )
    found = _SCHEME.fullmatch(source.strip())
    if found is None or found[1].lower() in _ADDRESSES:
        return Source(source, from_text(source), pause=refresh)
    scheme, rest = found[1].lower(), found[2]
    make = _BUILT_IN.get(scheme)
    if make is not None:
        resolver, pause = make(source, rest, refresh)
        return Source(source, resolver, pause=pause, vouches=scheme != "dir")
    return Source(source, _from_entry_point(scheme, source, refresh), pause=refresh)


def _host_addresses(source: str, rest: str, refresh: float) -> tuple[Resolver, float]:
    try:
        address = parse_address(rest)
        if address.path:
            raise ValueError(rest)
    except ValueError:
        raise ValueError(f"{source!r} is no host and port: write dns://calc:3010") from None
    return Polled(HostAddresses(address).look_up, refresh), refresh


def _service_records(source: str, rest: str, refresh: float) -> tuple[Resolver, float]:
    if not rest or set(rest) & set(":/, "):
        raise ValueError(f"{source!r} is no name with SRV records: write srv://_mpzmq._tcp.calc, without a port")
    return Polled(ServiceRecords(rest).look_up, refresh), refresh


def _environment(source: str, rest: str, refresh: float) -> tuple[Resolver, float]:
    if not rest:
        raise ValueError(f"{source!r} names no variable: write env://CALC")
    return from_environment(rest), refresh


def _address_file(source: str, rest: str, refresh: float) -> tuple[Resolver, float]:
    return Polled(AddressFile(_path(source, rest)).look_up, POLL_INTERVAL), POLL_INTERVAL


def _announcement_folder(source: str, rest: str, refresh: float) -> tuple[Resolver, float]:
    return Polled(AnnouncementFolder(_path(source, rest)).look_up, POLL_INTERVAL), POLL_INTERVAL


_BUILT_IN: dict[str, Callable[[str, str, float], tuple[Resolver, float]]] = {
    "dir": _announcement_folder,
    "dns": _host_addresses,
    "env": _environment,
    "file": _address_file,
    "srv": _service_records,
}


def _path(source: str, rest: str) -> Path:
    path = unquote(rest)
    if not path.startswith("/") or "\0" in path:
        scheme = source.partition(":")[0]
        raise ValueError(f"{source!r} has no absolute path: write three slashes, as in {scheme}:///run/calc")
    return Path(path)


def _from_entry_point(scheme: str, source: str, refresh: float) -> Resolver:
    from importlib.metadata import entry_points  # a twelfth of what `import mpzmq` takes, and few need it

    offered = entry_points(group=ENTRY_POINTS)
    entry = next((entry for entry in offered if entry.name == scheme), None)
    if entry is None:
        known = ", ".join(f"{name}://" for name in sorted({*_BUILT_IN, *(entry.name for entry in offered)}))
        raise ValueError(
            f"{source!r} has the scheme {scheme!r}, which nobody knows here: there are {known}, addresses such as"
            f" 'calc:3010' (with commas in between), and what packages offer as entry points {ENTRY_POINTS!r}"
        )
    resolver = entry.load()(source, refresh=refresh)
    if not isinstance(resolver, Resolver):
        raise TypeError(
            f"{entry.value}, which is for {scheme}://, made no resolver with watch(): {type_name(resolver)}"
        )
    return resolver
