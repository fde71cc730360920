"""Files in which containers say where they serve: written by each, read by engines.

Which process has written one is told as well, so that the file of a dead one is known for what it is.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..address import Address, parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SUFFIX", "Announcement", "ProcessIdentity", "reachable_from_elsewhere"]

SUFFIX = ".json"
"""Of such a file. One whose name begins with a dot is not finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """Which process it is, and where its number means that.

    Attributes:
        pid: its number.
        started: when it has started, in ticks of the clock since the host has; None: not known here.
        pids: where both mean the same: the boot of a host, and namespaces of it.
        network: where a loopback address means the same interface; in the same way.
    """

    pid: int
    started: int | None
    pids: str
    network: str

    @classmethod
    def own(cls) -> ProcessIdentity:
        """That of this process."""
        pid = os.getpid()
        found = _look(pid)
        started = None if found is None else found[1]
        return cls(pid=pid, started=started, pids=_namespace(*_PIDS), network=_namespace("net"))

    def is_gone(self) -> bool:
        """Whether the process has ended, as far as that can be seen from here: one of elsewhere has not."""
        if self.pids != _namespace(*_PIDS):
            return False
        if (found := _look(self.pid)) is None:
            return not _exists(self.pid)
        has_ended, started = found
        return has_ended or (self.started is not None and started != self.started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Where one container serves.

    Attributes:
        name: of the container; None: it has none but its address.
        addresses: at which it serves, the best one first.
        process: which one it is; None: whoever has written this did not say.
        labels, weight, server_key: as an Endpoint has them.
    """

    name: str | None = None
    addresses: tuple[str, ...]
    process: ProcessIdentity | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    server_key: str | None = None

    def encoded(self) -> bytes:
        """As a file holds it, without what is as it is by default."""
        document = {key: value for key, value in asdict(self).items() if value not in (None, {}, 1.0)}
        return json.dumps(document, indent=1).encode()

    @classmethod
    def decoded(cls, data: bytes) -> Announcement:
        """What a file holds. Fields that are not known are passed over.

        Raises:
            ValueError: it is no announcement.
        """
        try:
            document = json.loads(data)
            known = {key: document[key] for key in cls.__slots__ if key in document}
            addresses = known["addresses"]
            if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
                raise TypeError("addresses is a list of strings")
            process = known.get("process")
            known["process"] = None if process is None else _identity(process)
            return cls(**known | {"addresses": tuple(addresses)})
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"it is no announcement of a container: {why}") from None

    def address_from_here(self) -> str | None:
        """The first address that can be meant for this process; None: the container serves its own host only.

        Raises:
            ValueError: an address is malformed.
        """
        parsed = [parse_address(address) for address in self.addresses]
        is_near = self.process is None or self.process.network == _namespace("net")
        return next((address.text for address in parsed if is_near or not _is_local(address)), None)


def reachable_from_elsewhere(endpoint: str) -> str:
    """An endpoint that was bound, as others can dial it: every interface (``0.0.0.0``) is no place to go to."""
    address = parse_address(endpoint)
    if address.path or not ipaddress.ip_address(address.host).is_unspecified:
        return endpoint
    return address.endpoint(_own_number(socket.AF_INET6 if ":" in address.host else socket.AF_INET))


def _identity(process: Any) -> ProcessIdentity:
    if not isinstance(process, dict):
        raise TypeError("process is no object")
    known: dict[str, Any] = {key: process.get(key) for key in ProcessIdentity.__slots__}
    identity = ProcessIdentity(**known)
    if not (isinstance(identity.pid, int) and 0 < identity.pid < 1 << 31):
        raise TypeError("process.pid is no number of a process")
    return identity


def _is_local(address: Address) -> bool:
    """Whether it means something else on every host."""
    return bool(address.path) or (address.is_numeric and ipaddress.ip_address(address.host).is_loopback)


def _own_number(family: socket.AddressFamily) -> str:
    """The address by which this host reaches others; the loopback one where it does not."""
    elsewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # which nobody has
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))  # sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return "::1" if family == socket.AF_INET6 else "127.0.0.1"


_PIDS = ("pid", "time")
"""Of processes: their numbers, and the clock by which they have started."""


def _namespace(*kinds: str) -> str:
    """Where numbers of these kinds mean the same: a boot of a host, and on Linux namespaces of it."""
    found = []
    try:
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        for kind in kinds:
            with contextlib.suppress(FileNotFoundError):  # an older kernel has no namespaces of time
                found.append(os.readlink(f"/proc/self/ns/{kind}"))
    except OSError:
        return socket.gethostname()
    return "/".join(found)


def _look(pid: int) -> tuple[bool, int] | None:
    """Whether a process has ended, and when it has started; None: there is none, or the system does not show it."""
    if sys.platform != "linux":
        return None
    try:
        # "pid (name) state ...": the name may have spaces and brackets of its own.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0] in "ZX", int(fields[19])  # a zombie has ended


def _exists(pid: int) -> bool:
    """Whether there is such a process: also one of another user, which /proc may hide (hidepid, ProtectProc)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True
