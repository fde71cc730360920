"""How a server dials the engines that accept it: ``join()``, and ``Join``, which says the same to ``run()``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..address import parse_address
from ..common.durations import checked_timeout
from ..common.set_module import set_module
from ..runtime.names import checked_name
from .joining import JoinRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..config import Limits
    from ..runtime.lifecycle import Lifecycle
    from ..security.credentials import Security
    from .session_driver import SessionDriver

__all__ = ["Join", "LobbyJoining"]


@set_module("mpzmq")
@dataclass(frozen=True, kw_only=True)
class Join:
    """An engine that ``server.run(join=...)`` dials: what :meth:`ContainerServer.join` takes, as a value.

    Attributes:
        address: of the engine's ``group.endpoint``.
        token: what lets this container in; a Path is read again at each dial. It is not shown in the ``repr``.
        name: what it is called in the group; None: the server's name.
        labels: what it can be chosen by.

    Raises:
        ValueError, TypeError: the address is malformed, or the token is none.
    """

    address: str | tuple[str, int]
    token: str | Path = field(repr=False)
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parse_address(self.address)
        _check_token(self.token)


def _check_token(token: object) -> None:
    if not isinstance(token, str | Path):
        raise TypeError(f"token is a str or a Path, not {type(token).__name__}")


class LobbyJoining:
    """The engines that a server has joined; the server has the rest."""

    if TYPE_CHECKING:
        name: str
        _limits: Limits
        _lifecycle: Lifecycle
        _security: Security | None
        _start: Callable[[Security | None], Awaitable[SessionDriver]]

    async def join(
        self,
        address: str | tuple[str, int],
        *,
        token: str | Path,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = True,
        timeout: float | None = 5.0,
    ) -> None:
        """Dials an engine that accepts containers (``worker.accept()``), and serves it until the server is closed.

        A connection that is lost is dialled again, with a pause that grows. Several engines may be joined, and
        endpoints bound beside them.

        Args:
            address: of the engine's ``group.endpoint``.
            token: what lets this container in; a Path is read again at each dial.
            name: what it is called in the group; by default the server's name.
            labels: what it can be chosen by.
            wait: False: returns at once, and goes on dialling in the background, the first time, too.
            timeout: seconds until the engine is to have said HELLO.

        Raises:
            ConnectError: it has not; nothing goes on then.
            ValueError, TypeError: the address is malformed, or the token is none.
            RuntimeError: the server is closed or has keys, or belongs to another event loop.
        """
        parsed = parse_address(address)
        checked_timeout(timeout)
        _check_token(token)
        if self._lifecycle.is_ending:
            raise RuntimeError("this server is closed: enter it again with 'async with', or make another one")
        if self._security is not None:
            raise RuntimeError("this server has keys, and cannot join an engine, which is not authenticated here")
        self._lifecycle.loop_bound.bind()
        driver = await self._start(None)
        called = self.name if name is None else checked_name(name)
        request = JoinRequest(driver.sessions.instance, token, called, labels or {}, self._limits)
        await driver.router.join(parsed, request, timeout, wait=wait)
