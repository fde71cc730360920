"""Where a container may listen without security: where nobody else's programs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.reach import check_insecure_bind, host_to_bind

if TYPE_CHECKING:
    from ..address import Address

__all__ = ["bindable"]

_DANGER = (
    "and without security anybody there can call every function: give the server keys"
    " (security=Security.server(keys, allow=...), on the command line --keys and --allow), or pass insecure=True"
    " (--insecure) if the network itself is trusted; or bind to 127.0.0.1 or ipc"
)


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
    host = await host_to_bind(address)
    if not (secure or address.path):
        check_insecure_bind(address, host, f"container {container!r}", _DANGER, insecure=insecure)
    return host
