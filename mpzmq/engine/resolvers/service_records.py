"""``srv://_service._proto.name``: the SRV records of a name (extra ``dns``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...common.daemon_threads import in_daemon_thread
from .endpoint import Endpoint
from .host_addresses import LOOK_UP_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ServiceRecords"]


class ServiceRecords:
    """Looks up the SRV records of one name.

    Args:
        name: such as ``_mpzmq._tcp.calc.example``.
        nameservers: addresses to ask; empty: those of this host.
        port: of the name servers.

    Raises:
        ImportError: dnspython is not installed.
        ValueError: it is no name that DNS can have.
    """

    def __init__(self, name: str, nameservers: Sequence[str] = (), port: int = 53) -> None:
        try:
            import dns.exception
            import dns.name
        except ImportError:
            raise ImportError("srv:// needs dnspython: install mpzmq-engine with its extra 'dns'") from None
        try:
            dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError) as error:
            raise ValueError(f"srv://{name} is not followed by a name that DNS can have: {error}") from None
        self._name = name
        self._nameservers = list(nameservers)
        self._port = port

    async def look_up(self) -> list[Endpoint]:
        """A member for each record of the lowest priority number; the others are for when those are gone for good.

        Raises:
            OSError: the name has no such records, or there was no answer in time.
        """
        return await in_daemon_thread("mpzmq-lookup", self._ask)

    def _ask(self) -> list[Endpoint]:
        import dns.exception
        import dns.resolver

        try:
            resolver = dns.resolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                resolver.nameservers = self._nameservers
                resolver.port = self._port
            records = list(resolver.resolve(self._name, "SRV", lifetime=LOOK_UP_TIMEOUT, search=True))
        except dns.exception.DNSException as error:
            raise OSError(f"{self._name} has no SRV records ({error})") from None
        first = min((record.priority for record in records), default=0)
        return [
            Endpoint(f"{host}:{record.port}", weight=max(record.weight, 1))
            for record in sorted(records, key=lambda record: (str(record.target), record.port))
            # RFC 2782: a target "." says that the service is decidedly not available.
            if record.priority == first and (host := record.target.to_text(omit_final_dot=True)) != "."
        ]
